"""Files that are either whole or not there, whatever ends the process that writes them and whoever else writes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

STALE_SECONDS = 24 * 60 * 60
"""A temporary file that nobody has written to for so long belongs to no one."""

_TEMPORARY = re.compile(r"\..*-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.part(\.[^.]*)?")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)
_swept: set[Path] = set()


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`, with its suffix; move it to `path` if the block succeeds, else delete it.

    The file is on the disk before it has its name, and its name is before this returns. Of two writers of one path the
    last wins, and neither sees the other's half.

    Raises:
        OSError: if the file cannot be written; the message says in one sentence which file and why.
    """
    with temporary_path(path) as temporary:
        yield temporary
        place({temporary: Path(path)}, overwrite=True)


@contextmanager
def temporary_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a path of its own in the folder of `target`, which is made, with its suffix; what is there afterwards is
    deleted. What writers that were killed left of theirs is swept when a process first writes to a folder.

    Raises:
        OSError: if anything in the block cannot be written; the message says that `target` cannot, and why.
    """
    target = Path(target)
    temporary = target.with_name(_temporary_name(target))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep_once(target.parent)
        yield temporary
    except OSError as error:
        raise _explained(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def append_line(path: Path, line: bytes) -> None:
    """Append a line to a file, in one write; when this returns it is on the disk.

    A line that a kill or a full disk cut short does not swallow the next one.

    Args:
        path (`Path`): The file, made if it is not there; its folder must be.
        line (`bytes`): Without the line's end.

    Raises:
        OSError: if it cannot be written; the message says in one sentence which file and why.
    """
    try:
        with path.open("a+b", buffering=0) as file:
            data = (b"" if _ends_a_line(file) else b"\n") + line + b"\n"
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
    except OSError as error:
        raise _explained(path, error) from error


def set_aside(path: Path) -> Path:
    """Rename a damaged file, so that another can take its place and nothing is lost; returns its new path.

    Raises:
        OSError: if it cannot be renamed; the message says in one sentence which file and why.
    """
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}")
    try:
        os.replace(path, aside)
    except FileNotFoundError:  # another process has set it aside
        pass
    except OSError as error:
        raise _explained(path, error) from error
    return aside


def sweep(folder: Path) -> None:
    """Delete the temporary files of writers on this machine that have ended, and those of any that are a day old."""
    for path in folder.glob(".*.part*"):
        name = _TEMPORARY.fullmatch(path.name)
        with contextlib.suppress(OSError):  # it may be gone, or another's
            if name and (_has_ended(name) or time.time() - path.stat().st_mtime > STALE_SECONDS):
                path.unlink()


def _temporary_name(target: Path) -> str:
    return f".{target.stem[:40]}-{_host()}-{os.getpid()}-{secrets.token_hex(4)}.part{target.suffix}"


def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _sweep_once(folder: Path) -> None:
    """A folder of many thousand pictures is gone through once, not for each of them."""
    if folder not in _swept:
        _swept.add(folder)
        sweep(folder)


def _has_ended(name: re.Match[str]) -> bool:
    """Whether the writer of a temporary file ran on this machine and runs no more."""
    return name["host"] == _host() and not is_running(int(name["pid"]))


def is_running(pid: int) -> bool:
    """Whether a process of this machine runs; `True` where the system does not tell."""
    if os.name != "posix":  # elsewhere the signal 0 is no question
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it runs, but is another user's; or the number is none
        return True
    return True


def _ends_a_line(file: FileIO) -> bool:
    """Whether the next line can begin at the end of an open file; that is where the file is afterwards."""
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where the system and the file system can."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


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
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
    placed: list[Path] = []
    for temporary, target in files.items():
        if overwrite:
            os.replace(temporary, target)
        elif not _named_anew(temporary, target):
            for other in placed:
                other.unlink(missing_ok=True)
            return False
        placed.append(target)
    _sync_folder(placed[-1].parent)
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


def _explained(target: Path, error: OSError) -> OSError:
    if error.errno in _FULL:
        return OSError(f"There is no space left on the disk to write {target}.")
    return OSError(f"{target} could not be written: {error.strerror or error}.")
