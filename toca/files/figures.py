"""Figures as files: in the format that the file's name tells, with texts that are nothing but text."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from ..checks import shown, visible
from .writing import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")


def figure_format(path: str | PathLike) -> str:
    """The format of a figure's file, by its name. Raises `ValueError` if it is none of `FORMATS`."""
    suffix = Path(path).suffix[1:].lower()
    if suffix not in FORMATS:
        endings = ", ".join(f".{name}" for name in FORMATS)
        raise ValueError(f"A drawing is written as {endings}, and {shown(str(path))} ends in none of them.")
    return suffix


def save_figure(figure: Figure, path: str | PathLike) -> None:
    """Write a figure; it appears whole or not at all.

    Raises:
        ValueError: If the name tells no format that is written.
        OSError: If it cannot be written.
    """
    kind = figure_format(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=kind)


def plain(text: str) -> str:
    """Text for a figure: between two dollar signs it would be taken for a formula."""
    return visible(text).replace("$", r"\$")
