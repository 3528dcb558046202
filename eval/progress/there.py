"""How far the studies of many machines are, told by the names and notes in an object store: no picture is read."""

from __future__ import annotations

from collections import Counter

from toca.eval.progress.outline import FILE, Outline, Parts, parse_outline
from toca.eval.progress.status import Status, StudyStatus, reason_in, study_status
from toca.eval.samples.elsewhere import notes_in, read_notes
from toca.eval.samples.manifest import Entry
from toca.eval.samples.pictures import FAILURE
from toca.eval.store.naming import slug
from toca.eval.store.remote import Remote


def status_there(remote: Remote) -> Status:
    """What lies in an object store. Who is at work on it is not known.

    Raises:
        ValueError: If no run has begun there, or what tells of it is damaged.
        OSError: If it cannot be reached.
    """
    folders = [f"stages/{name}" for name in sorted(remote.names("stages"))]
    outlines = zip(folders, remote.read([f"{folder}/{FILE}" for folder in folders]), strict=True)
    studies = [_study(remote, folder, content) for folder, content in outlines if content is not None]
    if not studies:
        raise ValueError(f"No run has begun in {remote.shown}: name the --remote of `toca eval run`.")
    return Status(None, studies)


def _study(remote: Remote, folder: str, content: bytes) -> StudyStatus:
    outline = parse_outline(content.decode("utf-8", "replace"), f"{remote.shown}/{folder}/{FILE}")
    return study_status(outline, _Objects(remote, folder))


class _Objects:
    """What is kept of a study there; as `toca.eval.progress.status.Kept`.

    A batch counts by its note, for its files were put there before, and a result by its name: whoever takes them sees
    whether they are as they were written.
    """

    def __init__(self, remote: Remote, folder: str) -> None:
        self._remote, self._folder = remote, folder
        self.damaged: list[str] = []
        self._names: dict[str, set[str]] = {}

    def entries(self, parts: Parts) -> list[tuple[str, Entry]]:
        folder = f"{self._folder}/{parts.pictures}"
        notes = notes_in(self._remote, folder)
        found = read_notes(self._remote, folder, notes)
        self.damaged += [f"{self._remote.shown}/{folder}: the note {note}" for note in notes if note not in found]
        return [(str(note.rank), entry) for note, entry in found.items()]

    def is_whole(self, place: str) -> bool:
        folder, _, name = f"{self._folder}/{place}".rpartition("/")
        if folder not in self._names:
            self._names[folder] = self._remote.names(folder)
        return name in self._names[folder]

    def moment(self, place: str) -> float:
        return self._written(f"{self._folder}/{place}") or 0.0

    def failure(self, parts: Parts) -> str | None:
        [content] = self._remote.read([f"{self._folder}/{parts.pictures}/{FAILURE}"])
        return None if content is None else reason_in(content.decode)

    def rounds(self, outline: Outline) -> Counter[str]:
        return Counter()  # they stay on the machine that takes them, until there are enough

    def reported(self, outline: Outline) -> float | None:
        return self._written(f"{slug(outline.model)}.json")

    def _written(self, name: str) -> float | None:
        written = self._remote.written_at(name)
        return None if written is None else written.timestamp()
