"""The folder in which this library keeps what it made for a user."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "TOCA_CACHE"
"""Names the folder, where it is set."""


def user_folder() -> Path:
    """`$TOCA_CACHE`, else a folder `toca` where programs of this system keep such things. It need not be there."""
    told = os.environ.get(VARIABLE)
    if told:
        return Path(told).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "toca"
    at = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return (Path(at) if at else Path.home() / ".cache") / "toca"
