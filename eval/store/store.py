"""Results of stages on disk, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from toca.eval.store.mirror import Mirror
from toca.eval.store.naming import file_part
from toca.eval.store.sealed import digest, seal, unseal


@dataclass(frozen=True)
class Store:
    """A folder of results. Each belongs to a key, plain data that says all that it depends on: another key, another
    file, so that nothing stale is ever read.

    Args:
        folder (`Path`): Where the files lie: `<folder>/<stage>/<name>-<hash of the key>.json`.
        mirror (`Mirror`, *optional*): Where they lie too: what is lacking here is taken from there.
    """

    folder: Path
    mirror: Mirror | None = None

    def path(self, stage: str, name: str, key: Any) -> Path:
        """The file of a result, which need not exist."""
        return self.folder / stage / f"{file_part(name)}-{digest(key)[:12]}.json"

    def load(self, stage: str, name: str, key: Any) -> dict[str, Any] | None:
        """What was saved under this key, with `taken_at`, the moment it was saved; `None` if there is nothing, or if
        it is damaged, which is then said and set aside."""
        path = self.path(stage, name, key)
        found = unseal(path, key)
        if self.mirror is None:
            return found
        if found is not None:
            self.mirror.keep(path)
            return found
        return unseal(path, key) if self.mirror.take(path) else None

    def save(self, stage: str, name: str, key: Any, result: dict[str, Any]) -> dict[str, Any]:
        """Write a result, whole or not at all; returns it as `load` will, that is, as JSON gives it."""
        taken = {**result, "taken_at": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        path = self.path(stage, name, key)
        found = seal(path, key, taken)
        if self.mirror is not None:
            self.mirror.put([path])
        return found
