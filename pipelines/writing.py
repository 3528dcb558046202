"""Folders to write to."""

from __future__ import annotations

import os
from pathlib import Path


def prepare_folder(folder: Path) -> None:
    """Make a folder, so that a long generation does not find out at its end that it cannot write there.

    Raises:
        OSError: if the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"The folder {folder} could not be made: {error.strerror}.") from error
    if not os.access(folder, os.W_OK):
        raise OSError(f"The folder {folder} is not writable.")
