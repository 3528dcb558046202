"""The folder of a run and its likeness elsewhere: what is lacking here is taken from there, what is made here is put
there, each file under its own name below the folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from toca.eval.store.remote import Remote
from toca.files.writing import atomic_path


class Mirror:
    """A folder's likeness. Only names that somebody here asks for are ever written here, whatever a store lists.

    Args:
        remote (`Remote`): Where.
        folder (`Path`): The folder.
    """

    def __init__(self, remote: Remote, folder: Path) -> None:
        self.remote, self._folder = remote, folder
        self._there: dict[str, set[str]] = {}
        self._taken: dict[str, set[str]] = defaultdict(set)

    def name(self, path: Path) -> str:
        """What a file or folder of this folder is called there."""
        return path.relative_to(self._folder).as_posix()

    def put(self, paths: Iterable[Path]) -> None:
        """Write files, in the place of those of their names.

        Raises:
            OSError: If one cannot be read here or written there; one sentence.
        """
        self.remote.write({self.name(path): path.read_bytes() for path in paths})

    def keep(self, path: Path) -> None:
        """Write a file that is not there yet. Raises as `put`."""
        names = self._names(path.parent)
        if path.name not in names:
            self.put([path])
            names.add(path.name)

    def take(self, path: Path) -> bool:
        """Read a file into its place, if it is there and was not taken before: what is damaged is so again.

        Raises:
            OSError: If it cannot be read there or written here; one sentence.
        """
        taken = self._taken[self.name(path.parent)]
        if path.name in taken or path.name not in self._names(path.parent):
            return False
        taken.add(path.name)
        return self.fetch(path)

    def fetch(self, path: Path) -> bool:
        """The same without a look at what is there. Raises as `take`."""
        [content] = self.remote.read([self.name(path)])
        if content is not None:
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
        return content is not None

    def _names(self, folder: Path) -> set[str]:
        """What is there of a folder, listed once."""
        name = self.name(folder)
        if name not in self._there:
            self._there[name] = self.remote.names(name)
        return self._there[name]
