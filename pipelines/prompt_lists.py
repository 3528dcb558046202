"""Lists of prompts: those that come with toca, by name, and files of one prompt a line."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "prompt_sets"


def built_in() -> list[str]:
    """The names of the lists that come with toca."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def list_path(text: str) -> Path:
    """The file of a list, by its path or by its name; a file wins over a list of its name."""
    path = Path(text).expanduser()
    return FOLDER / f"{text}.txt" if text in built_in() and not path.is_file() else path
