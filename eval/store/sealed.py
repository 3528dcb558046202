"""JSON files that tell whether they are as they were written: one that is not is named, set aside, and made anew."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from toca.checks import cleaned
from toca.files.reading import named, read_text
from toca.files.writing import atomic_path, set_aside
from toca.pipelines.commands.console import errors

FAULTS = (ValueError, RecursionError, MemoryError)
"""What reading a damaged file raises."""
LARGEST = 2**30
"""Bytes that are read of a file; the scores of a hundred thousand samples take thirty million."""


def write_json(path: Path, data: Any) -> None:
    """Write strict JSON, whole or not at all."""
    text = json.dumps(data, indent=1, default=repr, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def seal(path: Path, key: Any, result: Any) -> Any:
    """Write a result and the key that it belongs to, whole or not at all; returns it as `unseal` will."""
    # As JSON gives it back: there the keys of a mapping are text, and come in another order.
    data = json.loads(json.dumps({"key": key, "result": result}, default=repr, allow_nan=False))
    write_json(path, {**data, "sha256": digest(data)})
    return data["result"]


def unseal(path: Path, key: Any) -> Any | None:
    """What was written to a file under this key; `None` if there is no file.

    A file that is damaged, empty, changed by hand or another's is named on the console and set aside, and is then not
    there.

    Raises:
        OSError: If it cannot be read or set aside.
    """
    if not path.is_file():
        return None
    try:
        return _of(content_of(read_text(path, LARGEST)), key)
    except FAULTS as error:
        aside = set_aside(path)
        errors.print(f"{named(path)} is damaged ({why(error)}): set aside as {aside.name}, its stage makes it anew.")
        return None


def why(error: BaseException) -> str:
    """What is wrong with a file, in a few words."""
    return cleaned(str(error) or type(error).__name__, 120).rstrip(".")


def fault(path: Path) -> str | None:
    """What is wrong with a file that `seal` wrote, whatever its key is; `None` if nothing is. It is left as it is."""
    try:
        content_of(read_text(path, LARGEST))
    except FAULTS as error:
        return why(error)
    return None


def content_of(text: str) -> dict[str, Any]:
    """The `key` and `result` in what `seal` wrote. Raises one of `FAULTS` for what it did not."""
    data = json.loads(text)
    if not isinstance(data, dict) or data.keys() != {"key", "result", "sha256"}:
        raise ValueError("it holds no result")
    if data.pop("sha256") != digest(data):
        raise ValueError("it is not as it was written")
    return data


def _of(data: dict[str, Any], key: Any) -> Any:
    if data["key"] != json.loads(json.dumps(key, default=repr)):
        raise ValueError("it is the result of something else")
    return data["result"]


def digest(key: Any) -> str:
    """A hash of plain data; what JSON does not know counts by its `repr`."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=repr).encode()).hexdigest()
