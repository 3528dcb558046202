"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, with its suffix; move it to `path` if the block succeeds, else delete it.

    Raises:
        OSError: if the file cannot be written; the message says in one sentence which file and why.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem}-{os.getpid()}.part{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise _explained(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _explained(target: Path, error: OSError) -> OSError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OSError(f"There is no space left on the disk to write {target}.")
    return OSError(f"{target} could not be written: {error.strerror or error}.")
