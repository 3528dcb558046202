"""What is done: a line of JSON for every batch of samples, appended when all of its files are on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from toca.checks import check_fields
from toca.eval.metrics.tags import file_digest
from toca.eval.samples.running import Facts
from toca.eval.store.lines import name_once, read_lines
from toca.files.reading import parse_json
from toca.files.writing import append_line


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

    def line(self) -> bytes:
        """What `read_entry` reads."""
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True)
class Manifest:
    """The manifests of a folder: each process appends to its own, all are read.

    Args:
        folder (`Path`): Where the samples lie.
    """

    folder: Path

    def entries(self) -> dict[int, Entry]:
        """What is noted as done, by batch; of two notes of one batch the later counts.

        A line that is cut short or damaged is passed over, and the file is named once: its batch counts as not noted,
        so it is made again.
        """
        found = [entry for entries in self.by_process().values() for entry in entries]
        return {entry.batch: entry for entry in sorted(found, key=lambda entry: entry.taken_at)}

    def by_process(self, tell: Callable[[Path, str], None] = name_once) -> dict[str, list[Entry]]:
        """All notes, those of each process in the order written; `tell` is told of what is damaged."""
        paths = sorted(self.folder.glob("manifest-*.jsonl"))
        return {path.name: list(read_lines(path, _entry, tell)) for path in paths}

    def append(self, rank: int, entry: Entry) -> None:
        """Note a batch; when this returns the note is on disk.

        Raises:
            OSError: If it cannot be written; one sentence.
        """
        append_line(self.folder / f"manifest-{rank:05}.jsonl", entry.line())

    def faults(self, entry: Entry) -> list[str]:
        """The files of a batch that are missing or are not what was written."""
        return [name for name, digest in entry.files.items() if sha256(self.folder / name) != digest]


def read_entry(line: bytes) -> Entry:
    """A note of a batch. Raises `ValueError` or `TypeError` for what is none."""
    return _entry(parse_json(line.decode()))


def _entry(data: Any) -> Entry:
    """Raises `ValueError` or `TypeError` for what `append` did not write."""
    entry = Entry(**data)
    check_fields(entry)
    check_fields(Facts(**entry.facts))
    datetime.fromisoformat(entry.taken_at)
    if any(Path(name).name != name for name in entry.files):
        raise ValueError("it names files of other folders")
    return entry


def sha256(path: Path) -> str | None:
    """Of a file's content; `None` if there is no file."""
    return file_digest(path) if path.is_file() else None
