"""Results of stages on disk, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from toca.eval.naming import slug
from toca.writing import atomic_path


@dataclass(frozen=True)
class Store:
    """A folder of results. Each belongs to a key, plain data that says all that it depends on: another key, another
    file, so that nothing stale is ever read.

    Args:
        folder (`Path`): Where the files lie: `<folder>/<stage>/<name>-<hash of the key>.json`.
    """

    folder: Path

    def path(self, stage: str, name: str, key: Any) -> Path:
        """The file of a result, which need not exist."""
        return self.folder / stage / f"{slug(name)}-{digest(key)[:12]}.json"

    def load(self, stage: str, name: str, key: Any) -> dict[str, Any] | None:
        """What was saved under this key, with `taken_at`, the moment it was saved; `None` if there is nothing."""
        path = self.path(stage, name, key)
        return _read(path) if path.is_file() else None

    def save(self, stage: str, name: str, key: Any, result: dict[str, Any]) -> dict[str, Any]:
        """Write a result, whole or not at all; returns it as `load` will, that is, as JSON gives it."""
        taken = {**result, "taken_at": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        path = self.path(stage, name, key)
        write_json(path, {"key": key, "result": taken})
        return _read(path)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))["result"]


def write_json(path: Path, data: Any) -> None:
    """Write strict JSON, whole or not at all."""
    text = json.dumps(data, indent=1, default=repr, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def digest(key: Any) -> str:
    """A hash of plain data; what JSON does not know counts by its `repr`."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=repr).encode()).hexdigest()
