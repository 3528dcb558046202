"""What is done: a line of JSON for every batch of samples, appended when all of its files are on disk."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toca.eval.metrics.tags import file_digest


@dataclass(frozen=True)
class Entry:
    """One batch.

    Args:
        batch (`int`): Its number.
        files (`dict[str, str]`): SHA-256 of each file, by name.
        facts (`dict`): What the cache did.
        taken_at (`str`): When it was made.
    """

    batch: int
    files: dict[str, str]
    facts: dict[str, Any]
    taken_at: str


@dataclass(frozen=True)
class Manifest:
    """The manifests of a folder: each process appends to its own, all are read.

    Args:
        folder (`Path`): Where the samples lie.
    """

    folder: Path

    def entries(self) -> dict[int, Entry]:
        """What is noted as done, by batch; of two notes of one batch the later counts.

        A line that a kill cut short is passed over: its batch was not noted, so it is made again.
        """
        found = [entry for path in sorted(self.folder.glob("manifest-*.jsonl")) for entry in _read(path)]
        return {entry.batch: entry for entry in sorted(found, key=lambda entry: entry.taken_at)}

    def append(self, rank: int, entry: Entry) -> None:
        """Note a batch; when this returns the note is on disk.

        Raises:
            OSError: If it cannot be written; one sentence.
        """
        path = self.folder / f"manifest-{rank:05}.jsonl"
        try:
            with path.open("ab") as file:
                # A line cut short must not swallow the next one.
                start = b"" if file.tell() == 0 or _ends_a_line(path) else b"\n"
                file.write(start + json.dumps(asdict(entry)).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            reason = "there is no space left on the disk" if error.errno == errno.ENOSPC else error.strerror
            raise OSError(f"{path} could not be written: {reason}.") from error

    def faults(self, entry: Entry) -> list[str]:
        """The files of a batch that are missing or are not what was written."""
        return [name for name, digest in entry.files.items() if sha256(self.folder / name) != digest]


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _read(path: Path) -> Iterator[Entry]:
    for line in path.read_bytes().splitlines():
        try:
            yield Entry(**json.loads(line))
        except (ValueError, TypeError):
            continue


def sha256(path: Path) -> str | None:
    """Of a file's content; `None` if there is no file."""
    return file_digest(path) if path.is_file() else None
