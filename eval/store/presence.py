"""Processes that know of each other by marks in a folder. A mark is a file that its process holds locked, so that it
counts for nothing from the moment that the process ends, however that is."""

from __future__ import annotations

import os
import platform
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from toca.eval.store.naming import slug

PATIENCE = 60.0
"""Seconds to wait for another process that looks around or comes in, which takes it milliseconds."""
_DOOR = "door.lock"


@dataclass(frozen=True)
class Mark:
    """A process that is there.

    Args:
        what (`str`): What it does.
        host (`str`): The machine.
        pid (`int`): Its number there.
    """

    what: str
    host: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@contextmanager
def present(folder: Path, what: str, allow: Callable[[list[Mark]], None] = lambda marks: None) -> Iterator[Path]:
    """Be in a folder for the length of a `with` block.

    Args:
        folder (`Path`): Made if it is not there.
        what (`str`): What this process does: letters, digits and hyphens.
        allow (`Callable`): Is told who else is there; raises to stay outside.

    Yields:
        `Path`: The mark.

    Raises:
        OSError: If the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{what}@{slug(platform.node())[:60]}@{os.getpid()}@{secrets.token_hex(4)}.lock"
    lock = FileLock(path)
    with FileLock(folder / _DOOR, timeout=PATIENCE):
        allow(_others(folder))
        lock.acquire(timeout=0)
    try:
        yield path
    finally:
        lock.release()
        with suppress(OSError):
            path.unlink()


def seen(folder: Path) -> list[Mark] | None:
    """Who is in a folder, as one sees it who stays outside and leaves everything as it is.

    Returns:
        `list[Mark]`: These; `None` where nobody can tell: to ask whether a file is locked is to open it for writing,
            which another user's folder does not allow.
    """
    if not (folder / _DOOR).is_file():
        return []
    try:
        with FileLock(folder / _DOOR, timeout=PATIENCE):
            marks = [(_mark(path), path) for path in sorted(folder.glob("*@*.lock"))]
            return [mark for mark, path in marks if mark is not None and _is_held(path)]
    except OSError:
        return None


def others(folder: Path, mine: Path) -> list[Mark]:
    """Who else is in a folder that this process is in by the mark `mine`."""
    with FileLock(folder / _DOOR, timeout=PATIENCE):
        return _others(folder, mine)


def _others(folder: Path, mine: Path | None = None) -> list[Mark]:
    """Who is there; marks of processes that have ended are deleted."""
    paths = [path for path in sorted(folder.glob("*@*.lock")) if path != mine]
    return [mark for path in paths if (mark := _mark(path)) is not None and not _has_left(path)]


def _mark(path: Path) -> Mark | None:
    what, host, pid, _ = (*path.stem.split("@"), "", "", "")[:4]
    return Mark(what, host, int(pid)) if pid.isdecimal() else None


def _has_left(path: Path) -> bool:
    """Whether nobody holds a mark, which is deleted then."""
    if _is_held(path):
        return False
    with suppress(OSError):
        path.unlink()
    return True


def _is_held(path: Path) -> bool:
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
