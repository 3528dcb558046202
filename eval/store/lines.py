"""Files of notes, a line of JSON each, that grow while a run goes on and are read by whoever goes on with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from toca.checks import cleaned
from toca.files.reading import named, parse_json
from toca.pipelines.commands.console import errors

Note = TypeVar("Note")

_told: set[Path] = set()


def name_once(path: Path, what: str) -> None:
    """Say on the console, once a file, what of it counts for nothing."""
    if path not in _told:
        _told.add(path)
        errors.print(f"{named(path)}: {what} and counts for nothing: what it noted is made again.")


def read_lines(
    path: Path, note: Callable[[Any], Note], tell: Callable[[Path, str], None] = name_once
) -> Iterator[Note]:
    """The notes of a file, if it is there. One that is cut short or damaged is passed over, and its file told of.

    Args:
        path (`Path`): The file, which `toca.files.writing.append_line` writes.
        note (`Callable`): The data of a line to what they say; raises `ValueError` or `TypeError` if that is nothing.
        tell (`Callable`): Is told the file and what is damaged in it.
    """
    lines = path.read_bytes().split(b"\n") if path.is_file() else [b""]
    # What stands after the last line's end is a line that someone is writing, or was when it was killed.
    for number, line in enumerate(lines[:-1], 1):
        try:
            yield note(parse_json(line.decode()))
        except (ValueError, TypeError) as error:
            tell(path, f"line {number} is damaged ({cleaned(str(error), 120)})")
