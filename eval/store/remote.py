"""A folder in an object store, or wherever else fsspec gets to, of which whole objects are written and read.

An object store can neither append, rename nor lock, and none of it is asked for. Credentials are fsspec's business:
they come from its own settings and variables, and nothing of them is kept or shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, TypeVar

from fsspec.core import url_to_fs

from toca.checks import cleaned
from toca.eval.store.masking import masked, without_secrets

WAITS = (0.5, 2.0, 8.0)
"""Seconds before each further try."""
_HOPELESS = (PermissionError, FileNotFoundError, NotImplementedError)
"""What another try does not change."""
_MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
Found = TypeVar("Found")


class Remote:
    """Objects by their names below a URL, such as `stages/emoji/outline.json`.

    Args:
        url (`str`): Of any protocol that fsspec knows.

    Raises:
        ValueError: If it is no such URL, or a package for it is missing; it says which.
    """

    def __init__(self, url: str) -> None:
        self.shown = cleaned(masked(url))
        self._url = url
        if "://" not in url:
            raise ValueError(
                f"--remote takes a URL, for example s3://bucket/run, got {self.shown!r}: name a folder by --output."
            )
        try:
            self._files, root = url_to_fs(url)
        except ImportError as error:
            how = cleaned(without_secrets(str(error), url)).rstrip(".")
            raise ValueError(f"{self.shown} needs a package that is not here: {how}.") from None
        except Exception as error:  # of any package; its cause may hold the password
            raise ValueError(f"{self.shown} cannot be opened: {self._reason(error)}.") from None
        self._root = root.rstrip("/")

    def __repr__(self) -> str:
        return f"Remote({self.shown!r})"

    def names(self, folder: str) -> set[str]:
        """The last parts of the names of all that lies directly in a folder; none if it is not there.

        They are what the store says: whoever makes paths of them has to look at them first.
        """

        def once() -> list[str]:
            self._files.invalidate_cache()
            with suppress(*_MISSING):
                return list(self._files.ls(self._path(folder), detail=False))
            return []

        return {str(path).rstrip("/").rpartition("/")[2] for path in self._tried("listed", once)}

    def read(self, names: Sequence[str]) -> list[bytes | None]:
        """Objects, many at once where the store can; `None` for one that is not there."""
        paths, all_of_it = [self._path(name) for name in names], [None] * len(names)

        def once() -> list[bytes | None]:
            found = self._files.cat_ranges(paths, all_of_it, all_of_it, on_error="return")
            for each in found:
                if isinstance(each, BaseException) and not isinstance(each, _MISSING):
                    raise each
            return [None if isinstance(each, BaseException) else bytes(each) for each in found]

        return self._tried("read", once) if names else []

    def write(self, contents: Mapping[str, bytes]) -> None:
        """Write objects, many at once where the store can; those that are there are replaced."""
        objects = {self._path(name): content for name, content in contents.items()}

        def once() -> None:
            try:
                self._files.pipe(objects)
            except FileNotFoundError:  # where folders are real ones
                for folder in {name.rpartition("/")[0] for name in contents}:
                    self._make_folder(folder)
                self._files.pipe(objects)

        self._tried("written to", once)

    def written_at(self, name: str) -> datetime | None:
        """When an object was written; `None` where the store does not tell."""
        try:
            moment: datetime = self._files.modified(self._path(name))
        except Exception:  # of whatever kind: it is a detail
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _make_folder(self, folder: str) -> None:
        """Make the folders down to one. A bucket is never made: a name with a mistake in it is to be said."""
        parts = folder.split("/") if folder else []
        for count in range(0 if "/" in self._root else 1, len(parts) + 1):
            with suppress(FileExistsError):
                self._files.mkdir(self._path("/".join(parts[:count])), create_parents=False)

    def _tried(self, what: str, once: Callable[[], Found]) -> Found:
        """What a call returns, after some more tries if need be.

        Raises:
            OSError: If none succeeds; one sentence that names the URL.
        """
        for wait in (*WAITS, None):
            try:
                return once()
            except Exception as error:  # each package has its own
                failed = error
            if wait is None or isinstance(failed, _HOPELESS):
                break
            time.sleep(wait)
        # Not as the cause of what is raised: it may hold the password.
        raise OSError(f"{self.shown} cannot be {what} ({self._reason(failed)}): nothing that is made here is lost.")

    def _reason(self, error: BaseException) -> str:
        told: Any = without_secrets(str(error), self._url)
        return cleaned(f"{type(error).__name__}: {told}" if told else type(error).__name__, 240).rstrip(".")
