"""TorchScript files are programs: loading one runs what its author wrote, with everything that its user may do."""

from __future__ import annotations

import zipfile
from pathlib import Path

RECORDS = {"constants.pkl", "model.json"}
"""What `torch.jit.load` looks for in an archive; the second is of torch before 1.4."""


def is_torchscript(path: Path) -> bool:
    """Whether `torch.jit.load` would take a file for a program. Raises `OSError` if it cannot be read."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.rpartition("/")[2] in RECORDS for name in archive.namelist())


def refuse_torchscript(path: Path, trusted: bool) -> None:
    """Refuse a program that the user has not said to trust.

    Args:
        path (`Path`): The file.
        trusted (`bool`): Whether the user said so.

    Raises:
        ValueError: If it is such a program.
        OSError: If it cannot be read.
    """
    if not trusted and is_torchscript(path):
        raise ValueError(
            f"{path} is a TorchScript program, and not only weights: loading it runs what its author wrote. If you "
            "trust them, say so with --trust-torchscript (`trust_torchscript: true` among the scores of a "
            "configuration)."
        )
