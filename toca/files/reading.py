"""Files that may come from anyone: text, JSON and YAML are read within bounds, and every fault is one sentence.

A file is read if it is a regular one (a pipe or a device would block) of a bounded size. Its data are bounded in depth
and number, have no aliases (which expand), no key twice, and no number that is infinite, none, or beyond 64 bits.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any

import yaml

from ..checks import cleaned, shown

LARGEST = 8 * 2**20
"""Bytes of a file. A plan of a thousand steps that says something else for every site takes two million."""

DEEPEST = 64
"""Lists and mappings in each other; ours go to 6."""

MOST_VALUES = 400_000
"""Values in a file; a thousand steps of a hundred sites are 100,000."""

MOST_DIGITS = 19
"""Of an integer: those of 64 bits."""

_YAML = "tag:yaml.org,2002:"
_TEXT = _YAML + "str"
_READ = frozenset(_YAML + kind for kind in ("str", "int", "float", "bool", "null"))
_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_bytes(path: str | PathLike, largest: int = LARGEST) -> bytes:
    """A whole file.

    Raises:
        ValueError: If it is no regular file, or larger than `largest` bytes.
        OSError: If there is no such file, or it may not be read.
    """
    # Without O_NONBLOCK opening a pipe waits for whoever writes to it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{named(path)} is no regular file.")
    with open(descriptor, "rb") as file:
        try:
            content = file.read(largest + 1)
        except OSError as error:  # of a disk, or a system's file; it does not say of which
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    if len(content) > largest:
        raise ValueError(f"{named(path)} is larger than the {largest:,} bytes that are read of such a file.")
    return content


def read_text(path: str | PathLike, largest: int = LARGEST) -> str:
    """A whole file of UTF-8 text, with or without a byte order mark.

    Raises:
        ValueError: As for `read_bytes`, and if it is no such text.
        OSError: As for `read_bytes`.
    """
    try:
        return read_bytes(path, largest).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{named(path)} is no text in UTF-8: byte {error.start} fits nowhere.") from error


def read_json(path: str | PathLike, largest: int = LARGEST) -> Any:
    """The data of a JSON file.

    Raises:
        ValueError: As for `read_text` and `parse_json`; it names the file.
        OSError: As for `read_text`.
    """
    return _of_file(path, read_text(path, largest), parse_json)


def read_yaml(path: str | PathLike, largest: int = LARGEST) -> Any:
    """The data of a YAML file.

    Raises:
        ValueError: As for `read_text` and `parse_yaml`; it names the file.
        OSError: As for `read_text`.
    """
    return _of_file(path, read_text(path, largest), parse_yaml)


def _of_file(path: str | PathLike, text: str, parse: Any) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{named(path)} cannot be read: {error}") from error


def named(path: str | PathLike) -> str:
    """A path in a message."""
    return cleaned(os.fsdecode(path))


@contextmanager
def found_there(name: str, kind: str, told: str, advice: str) -> Iterator[None]:
    """While a file of ours is read: one that cannot be, or is not what it should be, is a `ValueError` of a sentence.

    Args:
        name (`str`): The file, as messages have it.
        kind (`str`): What it should be: `"front"`.
        told (`str`): What it is called where it cannot be read: `"The front"`.
        advice (`str`): What to do then.
    """
    try:
        with valid(name, kind):
            yield
    except OSError as error:
        raise ValueError(f"{told} {name} cannot be read ({error.strerror}): {advice}.") from error


@contextmanager
def valid(name: str, kind: str) -> Iterator[None]:
    """The same of one that is read, or is none that can be, which raises its `OSError`."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError) as error:
        reason = f"missing key {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{name} is not a valid {kind}: {cleaned(reason, 400)}") from error


def parse_json(text: str) -> Any:
    """The data of a JSON text.

    Raises:
        ValueError: If it is no JSON, or beyond the bounds; it says where.
    """
    try:
        data = json.loads(text, object_pairs_hook=_mapping, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: {cleaned(error.msg)}, which is no JSON.") from error
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except MemoryError as error:
        raise ValueError(_TOO_MANY) from error
    _check_values(data)
    return data


def parse_yaml(text: str) -> Any:
    """The data of a YAML text: mappings, lists, text, numbers, truth values and nulls.

    Raises:
        ValueError: If it is no YAML, or beyond the bounds; it says where.
    """
    try:
        data = _built(text)
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"{_line(error.problem_mark)}{cleaned(str(error.problem))}, which is no YAML.") from error
    except yaml.YAMLError as error:
        raise ValueError(f"it is no YAML: {cleaned(str(error))}.") from error
    except MemoryError as error:
        raise ValueError(_TOO_MANY) from error
    _check_values(data)
    return data


_TOO_DEEP = f"it is nested more than {DEEPEST} levels deep."
_TOO_MANY = f"it holds more than the {MOST_VALUES:,} values that are read of a file."


def _mapping(pairs: list[tuple[Any, Any]]) -> dict:
    found: dict = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {shown(key)} stands twice in one mapping.")
        found[key] = value
    return found


def _integer(text: str) -> int:
    # Before it is converted: the time that takes grows with the square of the digits.
    if len(text.lstrip("-")) > MOST_DIGITS:
        raise ValueError(f"the number {cleaned(text, 30)} has more than {MOST_DIGITS} digits.")
    return int(text)


def _check_values(data: Any) -> None:
    """Refuse values that are no use to anyone, wherever they are. Raises `ValueError`."""
    waiting: list[tuple[Any, tuple]] = [(data, ())]
    count = 0
    while waiting:
        value, place = waiting.pop()
        count += 1
        if len(place) > DEEPEST:
            raise ValueError(_TOO_DEEP)
        if count > MOST_VALUES:
            raise ValueError(_TOO_MANY)
        if isinstance(value, dict):
            waiting += ((item, (*place, key)) for key, item in value.items())
            waiting += ((key, place) for key in value)
        elif isinstance(value, list):
            waiting += ((item, (*place, i)) for i, item in enumerate(value))
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{_where(place)}{value} is no finite number.")
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"{_where(place)}the number {shown(value)} does not fit 64 bits.")
        elif isinstance(value, str) and not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise ValueError(f"{_where(place)}{shown(value)} holds half a character.")


def _where(place: tuple) -> str:
    """`steps[3].ff: ` for `("steps", 3, "ff")`."""
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return f"{cleaned(path.lstrip('.'), 120)}: " if path else ""


def _line(mark: Any) -> str:
    return "" if mark is None else f"line {mark.line + 1}: "


def _built(text: str) -> Any:
    """The data of a YAML text, from its events one by one: what is not wanted is met before anything is built."""
    builder = _Builder()
    for event in yaml.parse(text, Loader=_Parser):
        builder.take(event)
    return builder.root[0] if builder.root else None


class _Builder:
    """Builds data from the events of a YAML parser, without recursion."""

    def __init__(self) -> None:
        self.root: list = []
        self.open: list[list] = [self.root]
        self.count = self.documents = 0
        self.resolver = yaml.SafeLoader("")
        self.scalars: dict[tuple, Any] = {}

    def take(self, event: Any) -> None:
        """One event.

        Raises:
            ValueError: For an alias, a tag on a collection, or what is beyond the bounds.
            yaml.YAMLError: For a scalar of an unknown type.
        """
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise ValueError(f"{_line(event.start_mark)}a second document begins, and one is read.")
        elif isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError(f"{_line(event.start_mark)}an alias or anchor (`&`, `*`), which is not read here.")
        elif isinstance(event, yaml.ScalarEvent):
            # Most scalars of a plan are the same few words, and telling what a word is takes time.
            key = event.value, event.tag, event.implicit
            if key not in self.scalars:
                self.scalars[key] = self._scalar(event)
            self._add(self.scalars[key])
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end(event)

    def _add(self, value: Any) -> None:
        self.count += 1
        if self.count > MOST_VALUES:
            raise ValueError(_TOO_MANY)
        self.open[-1].append(value)

    def _begin(self, event: Any) -> None:
        kind = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
        if event.tag not in (None, "!", _YAML + kind):
            raise ValueError(f"{_line(event.start_mark)}the tag {shown(event.tag)} is not read here.")
        if len(self.open) > DEEPEST:
            raise ValueError(_TOO_DEEP)
        self.open.append([])

    def _end(self, event: Any) -> None:
        items = self.open.pop()
        if isinstance(event, yaml.SequenceEndEvent):
            return self._add(items)
        try:
            self._add(_mapping(list(zip(items[::2], items[1::2], strict=True))))
        except (TypeError, ValueError) as error:
            reason = "a list or a mapping cannot be a key." if isinstance(error, TypeError) else error
            raise ValueError(f"{_line(event.end_mark)}{reason}") from error

    def _scalar(self, event: Any) -> Any:
        tag, line = event.tag, _line(event.start_mark)
        if tag in (None, "!"):
            tag = self.resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
            # A date or a merge key is text here.
            tag = tag if tag in _READ else _TEXT
        if tag not in _READ:
            raise ValueError(f"{line}the tag {shown(tag)} is not read here.")
        if tag == _TEXT:
            return event.value
        if len(event.value) > 2 * MOST_DIGITS and tag != _YAML + "float":
            _integer(event.value)
        try:
            return self.resolver.construct_object(yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark))
        except (ValueError, KeyError, OverflowError) as error:
            raise ValueError(f"{line}{shown(event.value)} is no {tag.removeprefix(_YAML)}.") from error
