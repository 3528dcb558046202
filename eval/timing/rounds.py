"""Times on disk as soon as they are taken, so that a kill loses the round that it falls into and no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toca.eval.store.lines import name_once, read_lines
from toca.eval.store.sealed import digest
from toca.eval.timing.rivals import Rivals
from toca.files.writing import append_line


@dataclass(frozen=True)
class Round:
    """What one turn of all workloads took.

    Args:
        seconds (`dict[str, dict[str, float]]`): Of each workload, part by part.
        rivals (`Rivals`): Who else was busy meanwhile.
    """

    seconds: dict[str, dict[str, float]]
    rivals: Rivals


@dataclass(frozen=True)
class Rounds:
    """The file of rounds that have been taken, and whose workloads have no result yet.

    Args:
        path (`Path`): Where it is.
    """

    path: Path

    def taken(self, tell: Callable[[Path, str], None] = name_once) -> list[Round]:
        """Those that are on disk, in the order taken; `tell` is told of damaged ones."""
        return list(read_lines(self.path, _round, tell))

    def append(self, round: Round) -> None:
        """Keep a round; when this returns it is on disk.

        Raises:
            OSError: If it cannot be written; one sentence.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        data = asdict(round)
        append_line(self.path, json.dumps({**data, "sha256": digest(data)}).encode())

    def clear(self) -> None:
        """Forget them: all workloads have their results."""
        self.path.unlink(missing_ok=True)


def _round(data: Any) -> Round:
    """Raises `ValueError` or `TypeError` for what is not as it was written."""
    if not isinstance(data, dict) or data.pop("sha256", None) != digest(data):
        raise ValueError("it is not as it was written")
    return Round(data["seconds"], Rivals(**data["rivals"]))
