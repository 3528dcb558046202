"""Batches of samples that lie elsewhere too: first their files are put there and then a note of them, an object of its
own, so that no note ever names what is not there, and no two machines write the same note."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from functools import cached_property

from toca.eval.samples.manifest import Entry, Manifest, read_entry
from toca.eval.store.mirror import Mirror
from toca.eval.store.remote import Remote
from toca.eval.store.sealed import digest
from toca.files.writing import atomic_path
from toca.pipelines.commands.console import errors

NOTES = "notes"
"""The folder beside a variant's samples: of many thousand samples they need not be listed to see what is made."""
_NOTE = re.compile(r"(?P<rank>\d{5})-(?P<batch>\d{1,9})-(?P<digest>[0-9a-f]{16})\.json")
_FILE = re.compile(r"[A-Za-z0-9][\w-]*\.(png|npy)", re.ASCII)


@dataclass(frozen=True)
class Note:
    """A note by its name, which tells what must be known before it is read.

    Args:
        rank (`int`): Of the process that made the batch.
        batch (`int`): Its number.
        digest (`str`): Of the entry.
    """

    rank: int
    batch: int
    digest: str

    def __str__(self) -> str:
        return f"{self.rank:05}-{self.batch}-{self.digest}.json"


def notes_in(remote: Remote, folder: str) -> list[Note]:
    """The notes of the variant whose samples lie in a folder, by the names alone."""
    matches = [match for name in remote.names(f"{folder}/{NOTES}") if (match := _NOTE.fullmatch(name))]
    return sorted(
        (Note(int(match["rank"]), int(match["batch"]), match["digest"]) for match in matches),
        key=lambda note: (note.rank, note.batch, note.digest),
    )


def read_notes(remote: Remote, folder: str, notes: Collection[Note]) -> dict[Note, Entry]:
    """What notes say; one that is gone or damaged, or says something else than its name, says nothing."""
    contents = remote.read([f"{folder}/{NOTES}/{note}" for note in notes])
    found = {note: _entry(note, content) for note, content in zip(notes, contents, strict=True)}
    return {note: entry for note, entry in found.items() if entry is not None}


def _entry(note: Note, content: bytes | None) -> Entry | None:
    try:
        entry = None if content is None else read_entry(content)
    except (ValueError, TypeError):
        return None
    if entry is None or entry.batch != note.batch or _digest(entry) != note.digest:
        return None
    # Such names have no folder in them on any system, and none of them is that of a note.
    return entry if all(map(_FILE.fullmatch, entry.files)) else None


def _digest(entry: Entry) -> str:
    return digest(asdict(entry))[:16]


@dataclass(frozen=True)
class Elsewhere:
    """The batches of a variant's samples, here and elsewhere.

    Args:
        manifest (`Manifest`): What is done here.
        mirror (`Mirror`): Elsewhere.
    """

    manifest: Manifest
    mirror: Mirror

    @cached_property
    def _notes(self) -> list[Note]:
        return notes_in(self.mirror.remote, self._name)

    @cached_property
    def _there(self) -> set[str]:
        """The digests of the notes."""
        return {note.digest for note in self._notes}

    @property
    def _name(self) -> str:
        return self.mirror.name(self.manifest.folder)

    def put(self, rank: int, entry: Entry) -> None:
        """Put a batch there that is here, if it is not there yet; when this returns, its note is.

        Raises:
            OSError: If a file cannot be read here or written there; one sentence.
        """
        found = _digest(entry)
        if found not in self._there:
            self.mirror.put(self.manifest.folder / name for name in entry.files)
            self.mirror.remote.write({f"{self._name}/{NOTES}/{Note(rank, entry.batch, found)}": entry.line()})
            self._there.add(found)

    def take(self, batches: Collection[int]) -> None:
        """Take what is there of these batches and lacking here; what is damaged there is said, and left to be made.

        Raises:
            OSError: If something cannot be read there or written here; one sentence.
        """
        for note, entry in self._lacking(batches):
            if self._take_files(entry):
                self.manifest.append(note.rank, entry)
            else:
                what = f"batch {entry.batch} in {self.mirror.remote.shown}/{self._name}"
                errors.print(f"{what} is damaged or has files missing: it counts for nothing, and is made again.")

    def _lacking(self, batches: Collection[int]) -> list[tuple[Note, Entry]]:
        """The batches of which files are not here, of each the note that was written last."""
        here = self.manifest.entries()
        folder = self.manifest.folder
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        whole = {number for number, entry in here.items() if entry.files.keys() <= names}
        wanted = [note for note in self._notes if note.batch in batches and note.batch not in whole]
        read = read_notes(self.mirror.remote, self._name, wanted)
        last = {entry.batch: (note, entry) for note, entry in sorted(read.items(), key=lambda pair: pair[1].taken_at)}
        return list(last.values())

    def _take_files(self, entry: Entry) -> bool:
        """Whether all files of a batch are here now as they were written; else none has come."""
        folder = self.manifest.folder
        lacking = self.manifest.faults(entry)
        contents = self.mirror.remote.read([f"{self._name}/{name}" for name in lacking])
        found = {
            name: content
            for name, content in zip(lacking, contents, strict=True)
            if content is not None and hashlib.sha256(content).hexdigest() == entry.files[name]
        }
        if len(found) < len(lacking):
            return False
        for name, content in found.items():
            with atomic_path(folder / name) as temporary:
                temporary.write_bytes(content)
        return True
