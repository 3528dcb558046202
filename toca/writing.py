"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

STALE_SECONDS = 24 * 3600
"""Age at which a temporary file has nobody left who writes to it."""

_TEMPORARY = re.compile(r"\.toca-[0-9a-f]{16}\.part(\.\w+)?")
_swept: set[Path] = set()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, with its suffix; move it to `path` if the block succeeds, else delete it.

    Of two writers of one path the last wins, and neither sees the other's half.

    Raises:
        OSError: if the file cannot be written; the message says in one sentence which file and why.
    """
    with temporary_path(path) as temporary:
        yield temporary
        place({temporary: Path(path)}, overwrite=True)


@contextmanager
def temporary_path(target: str | Path) -> Iterator[Path]:
    """Give a path of its own in the folder of `target`, which is made, with its suffix; what is there afterwards is
    deleted. What a killed process left there a day ago or earlier is deleted too.

    Raises:
        OSError: if anything in the block cannot be written; the message says that `target` cannot, and why.
    """
    target = Path(target)
    # Not made from the target's name, which may be as long as names can be.
    temporary = target.with_name(f".toca-{secrets.token_hex(8)}.part{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        yield temporary
    except OSError as error:
        raise _explained(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def place(files: Mapping[Path, Path], overwrite: bool = False) -> bool:
    """Give written files their names: all of them, or none if one of the names is taken.

    Args:
        files (`Mapping[Path, Path]`): temporary path -> name, in one folder.
        overwrite (`bool`): whether a file that has the name already is replaced.

    Returns:
        `bool`: whether they have their names. Who else asks for one of these at the same time gets `False`.

    Raises:
        OSError: if it cannot be done for another reason.
    """
    for temporary in files:
        _to_disk(temporary)
    placed: list[Path] = []
    for temporary, target in files.items():
        if overwrite:
            os.replace(temporary, target)
        elif not _named_anew(temporary, target):
            for other in placed:
                other.unlink(missing_ok=True)
            return False
        placed.append(target)
    _to_disk(placed[-1].parent)
    return True


def _named_anew(temporary: Path, target: Path) -> bool:
    """Give a file a name that no other file has; whether it was free. Asking and naming are one act of the system."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError:
        # Some file systems have no second names: there the name is taken by an empty file first.
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        os.replace(temporary, target)
    return True


def _to_disk(path: Path) -> None:
    """Have a file, or the names in a folder, outlast a loss of power."""
    if not path.is_dir():
        with path.open("r+b") as file:
            os.fsync(file.fileno())
        return
    # Windows opens no folders, and some network file systems sync none.
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Delete, once a process and folder, what killed processes left."""
    folder = folder.resolve()
    if folder in _swept:
        return
    _swept.add(folder)
    for entry in os.scandir(folder):
        # Another process may sweep too.
        with contextlib.suppress(FileNotFoundError):
            if _TEMPORARY.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > STALE_SECONDS:
                os.unlink(entry.path)


def _explained(target: Path, error: OSError) -> OSError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OSError(f"There is no space left on the disk to write {target}.")
    return OSError(f"{target} could not be written: {error.strerror or error}.")
