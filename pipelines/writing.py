"""Folders to write to."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def prepare_folder(folder: Path) -> None:
    """Make a folder, and see that it can be written to, so that a long generation does not find out at its end.

    Raises:
        OSError: if the folder cannot be made or written to.
    """
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"The folder {folder} could not be made: {error.strerror}.") from error
    try:
        # What the system says of its rights is not all: a network may have rules of its own.
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f"The folder {folder} is not writable: {error.strerror}.") from error


def check_folder(folder: Path) -> None:
    """See, without making anything, whether `prepare_folder` has a chance.

    Raises:
        OSError: if it has none.
    """
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise OSError(f"The folder {folder} could not be made: {there} is no folder.")
    if not os.access(there, os.W_OK):
        raise OSError(f"The folder {there} is not writable.")
