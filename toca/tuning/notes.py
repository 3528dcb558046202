"""What a search has measured so far, kept in a file: a search that was stopped goes on from there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from ..checks import shown
from ..files.reading import read_json
from ..files.writing import atomic_path

Found = TypeVar("Found")

FORMAT = "toca-search"
EVERY = 5.0
"""Seconds between two times that the file is written."""


class Notes:
    """Measurements by name, each made once.

    Args:
        path (`str` or `PathLike`, *optional*): Of the file; without one nothing outlasts the search.
        of (`Mapping`, *optional*): What is searched: a file of another search is refused.

    Attributes:
        spending (`Callable`): Tells by name what has been spent since the search went on, such as seconds.

    Raises:
        ValueError: If the file is of another search, or is none.
    """

    def __init__(self, path: str | PathLike | None = None, of: Mapping[str, Any] | None = None):
        self.path = None if path is None else Path(path)
        self.of: dict[str, Any] = json.loads(json.dumps(of or {}))
        self.found: dict[str, Any] = {}
        self.spending: Callable[[], Mapping[str, float]] = dict
        self._spent_before: dict[str, float] = {}
        self._written = time.monotonic()
        if self.path is not None and self.path.is_file():
            self._read(self.path)

    @property
    def spent(self) -> dict[str, float]:
        """What the search has spent, also before it was stopped."""
        return {name: spent + self._spent_before.get(name, 0.0) for name, spent in self.spending().items()}

    def _read(self, path: Path) -> None:
        data = read_json(path)
        if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("found"), dict):
            raise ValueError(f"{str(path)!r} is no file of a search: delete it, or give another name.")
        theirs = data.get("of")
        if theirs != self.of:
            other = next(
                (name for name in self.of if not isinstance(theirs, dict) or theirs.get(name) != self.of[name]), ""
            )
            was = theirs.get(other) if isinstance(theirs, dict) else None
            raise ValueError(
                f"{str(path)!r} is of another search: its `{other}` is {shown(was)}, and here it is "
                f"{shown(self.of.get(other))}. Delete it to start anew, or give another name."
            )
        self.found, self._spent_before = data["found"], dict(data.get("spent", {}))

    def get(self, name: str, measure: Callable[[], Found]) -> Found:
        """A measurement, plain data: made now, or before."""
        if name not in self.found:
            self.found[name] = measure()
            if time.monotonic() - self._written > EVERY:
                self.write()
        return self.found[name]

    def write(self) -> None:
        """Write the file; it appears whole or not at all."""
        self._written = time.monotonic()
        if self.path is None:
            return
        with atomic_path(self.path) as temporary:
            kept = {"format": FORMAT, "of": self.of, "spent": self.spent, "found": self.found}
            temporary.write_text(json.dumps(kept), encoding="utf-8")
