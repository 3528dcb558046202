"""Files that a model comes with for a method: a calibration, a router. They lie in a folder beside its weights."""

from __future__ import annotations

from pathlib import Path


def file_beside(folder: str | Path, method: str) -> Path:
    """Where the file of a model for a method lies, if there is one.

    Args:
        folder (`str` or `Path`): The pipeline's.
        method (`str`): The method's short name.
    """
    return Path(folder) / "calibration" / f"{method}.json"
