"""Where what is shared lies in a folder. Beside a model's weights, or in a folder of its own, it is the same place."""

from __future__ import annotations

from pathlib import Path

PLAN = "plan.yaml"
"""The file of a plan."""

PATTERNS = (PLAN, "calibration/*.json")
"""All that is ever fetched from a repository: none of it is a program, or a pickle."""


def file_beside(folder: str | Path, method: str) -> Path:
    """Where the file of a model for a method lies, if there is one: a front, a calibration, a router.

    Args:
        folder (`str` or `Path`): The pipeline's, or one that holds nothing else.
        method (`str`): The method's short name.
    """
    return Path(folder) / "calibration" / f"{method}.json"


def shared_in(folder: Path) -> dict[str, Path]:
    """What lies in a folder: the files by the names of their methods, and a plan as `"plan"`."""
    plan = [folder / PLAN] if (folder / PLAN).is_file() else []
    files = sorted(path for path in file_beside(folder, "").parent.glob("*.json") if path.is_file())
    return {path.stem: path for path in (*plan, *files)}


def told(folder: Path) -> str:
    """What lies in a folder, in words for a message."""
    held = list(shared_in(folder))
    return ", ".join(held) if held else "neither a plan nor a file for a method"
