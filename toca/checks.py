"""Validation of values that users give, and how a message shows them."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import numbers
import os
import reprlib
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any

LONGEST_SHOWN = 60
"""Characters of a value in a message: enough to know it by, and a message stays a sentence."""

MOST_STEPS = 10_000
"""Steps of a generation; schedulers know a thousand timesteps."""

MOST_LAYERS = 1000
"""Blocks of a model."""

MOST_ITEMS = 10_000
"""Items of a field that holds any number of them."""


@dataclasses.dataclass(frozen=True)
class Within:
    """Bounds of a number, beside its type: `Annotated[int, Within(1, 100)]`. Without them an integer fits 64 bits, and
    a float is finite.

    Args:
        least, most (`float`): The bounds; both are allowed.
        open (`bool`, defaults to `False`): Whether `least` itself is not.
    """

    least: float
    most: float
    open: bool = False

    def __contains__(self, value: Any) -> bool:
        # What is no number lies between no bounds.
        return (self.least < value if self.open else self.least <= value) and value <= self.most

    def requirement(self, value: Any) -> str:
        """What a value that is out of bounds must be, in words."""
        if self.most == 1:
            return "must be above 0 and at most 1" if self.open else f"must be between {self.least:g} and 1"
        if value != value or value in (math.inf, -math.inf):
            return "must be a finite number"
        if value > self.most:
            return f"must be at most {self.most:,}"
        if self.open:
            return f"must be above {self.least:g}"
        return "must be non-negative" if self.least == 0 else f"must be at least {self.least:,}"


_FREE = {int: Within(-(2**63), 2**63 - 1), float: Within(-1e12, 1e12)}
"""Bounds of numbers whose annotation says none. A float32 tensor takes no scalar above 3e38."""

Steps = Annotated[int, Within(0, MOST_STEPS)]
SomeSteps = Annotated[int, Within(1, MOST_STEPS)]
Layers = Annotated[int, Within(0, MOST_LAYERS)]
SomeLayers = Annotated[int, Within(1, MOST_LAYERS)]
Order = Annotated[int, Within(0, 10)]
MOST_CLUSTERS = 16_384
Clusters = Annotated[int, Within(1, MOST_CLUSTERS)]
PatchSide = Annotated[int, Within(0, 64)]
Seed = Annotated[int, Within(0, 2**63 - 1)]
Count = Annotated[int, Within(0, 2**53)]
SomeOf = Annotated[int, Within(1, 2**31)]
Share = Annotated[float, Within(0, 1)]
SomeShare = Annotated[float, Within(0, 1, open=True)]
NonNegative = Annotated[float, Within(0, 1e12)]


def check(condition: bool, name: str, value: Any, requirement: str) -> None:
    """Raise a `ValueError` that names the value unless `condition` holds."""
    if not condition:
        raise refusal(name, value, requirement)


def refusal(name: str, value: Any, requirement: str) -> ValueError:
    """The error that names a value (`window`, or `window[1]` for a part of it), and what is wrong with it."""
    field, bracket, part = name.partition("[")
    return ValueError(f"`{field}`{bracket}{part} {requirement}, got {shown(value)}.")


def check_fields(instance: Any) -> None:
    """Check every field of a dataclass by its annotation, and put what is as good in the type that it asks for:
    numbers of numpy as Python's, lists as tuples, mappings as dictionaries of their own, paths as text.

    To be called first in `__post_init__`, of frozen dataclasses too.

    Raises:
        ValueError: For the first field whose value is of another type or out of bounds; it names both.
    """
    cls: type = type(instance)
    for name, hint in _hints(cls).items():
        value = getattr(instance, name)
        fitting = checked(value, hint, name)
        if fitting is not value:
            object.__setattr__(instance, name, fitting)


@cache
def _hints(cls: type) -> dict[str, Any]:
    try:
        return field_hints(cls, include_extras=True)
    except NameError:
        # A class within a function whose annotations name other things of that function: nobody else can read them.
        return {}


def field_hints(cls: type, include_extras: bool = False) -> dict[str, Any]:
    """The types of those fields of a dataclass that its constructor takes; what else its bases annotate (a class
    variable, for type checkers alone) need not be there.

    Args:
        cls (`type`): The dataclass.
        include_extras (`bool`, defaults to `False`): Whether bounds stay beside the types.

    Raises:
        NameError: If an annotation names what is not there.
    """
    names = [field.name for field in dataclasses.fields(cls) if field.init]
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        said = {name: hint for name, hint in inspect.get_annotations(base).items() if name in names}
        known = vars(sys.modules[base.__module__]) if base.__module__ in sys.modules else {}
        own = types.SimpleNamespace(__annotations__=said)
        hints |= typing.get_type_hints(own, known, include_extras=include_extras)
    return {name: hints[name] for name in names}


def checked(value: Any, hint: Any, name: str) -> Any:
    """`value` in the very type that `hint` asks for. Raises `ValueError` as `check_fields` does."""
    bounds = hint.__metadata__[0] if typing.get_origin(hint) is Annotated else None
    hint = hint.__origin__ if bounds is not None else hint
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if not _is_kind(value, hint):
        raise refusal(name, value, f"must be {_words(hint)}")
    if origin in _UNIONS:
        return checked(value, next(argument for argument in arguments if _is_kind(value, argument)), name)
    if hint in (int, float):
        return _checked_number(value, hint, bounds or _FREE[hint], name)
    if origin is tuple:
        return _checked_items(value, arguments, name)
    if origin in (dict, Mapping):
        return _checked_entries(value, arguments, name)
    return os.fspath(value) if hint is str else value


def _checked_number(value: Any, kind: type, bounds: Within, name: str) -> Any:
    if value not in bounds:
        raise refusal(name, value, bounds.requirement(value))
    return value if type(value) in (int, float) else kind(value)


def _checked_items(values: Any, hints: tuple, name: str) -> tuple:
    if hints[-1] is Ellipsis:
        check(len(values) <= MOST_ITEMS, name, values, f"must have at most {MOST_ITEMS:,} values")
        hints = (hints[0],) * len(values)
    check(len(values) == len(hints), name, values, f"must be {len(hints)} values")
    return tuple(
        checked(value, hint, f"{name}[{i}]") for i, (value, hint) in enumerate(zip(values, hints, strict=True))
    )


def _checked_entries(values: Mapping, hints: tuple, name: str) -> dict:
    check(len(values) <= MOST_ITEMS, name, values, f"must have at most {MOST_ITEMS:,} entries")
    for key in values:
        check(_is_kind(key, hints[0]), name, key, f"must have keys that are {_words(hints[0])}")
    if hints[1] is Any:
        return dict(values)
    return {key: checked(value, hints[1], f"{name}[{shown(key)}]") for key, value in values.items()}


def _is_kind(value: Any, hint: Any) -> bool:
    """Whether a value is of the kind that a type asks for, whatever is in it."""
    hint = hint.__origin__ if typing.get_origin(hint) is Annotated else hint
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in _UNIONS:
        return any(_is_kind(value, argument) for argument in arguments)
    if hint in _KINDS:
        # To isinstance a truth value is an integer, but an interval of True is a mistake.
        return isinstance(value, _KINDS[hint][0]) and (hint is bool or not isinstance(value, bool))
    if origin is typing.Literal:
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if origin is tuple:
        return isinstance(value, (list, tuple, range))
    kind = origin or hint
    # Of a protocol, a type variable or `Any` nobody can tell.
    return not isinstance(kind, type) or kind is Any or getattr(kind, "_is_protocol", False) or isinstance(value, kind)


_UNIONS = (typing.Union, types.UnionType)
_KINDS: dict[Any, tuple[Any, str]] = {
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    bool: (bool, "True or False"),
    str: ((str, os.PathLike), "text"),
    type(None): (type(None), "None"),
}


def _words(hint: Any) -> str:
    """A type in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _words(hint.__origin__)
    if origin in _UNIONS:
        return " or ".join(_words(argument) for argument in arguments)
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    if origin is tuple:
        return "several values" if arguments[-1] is Ellipsis else f"{len(arguments)} values"
    if origin in (dict, Mapping):
        return "a mapping"
    return _KINDS[hint][1] if hint in _KINDS else f"a {getattr(hint, '__name__', hint)}"


def shown(value: Any) -> str:
    """A value in a message: its `repr`, cut to `LONGEST_SHOWN` characters, on one line, control characters escaped.

    It neither raises nor takes long, whatever the value is: 10**6 digits, lists in lists in lists, a tensor.
    """
    return cleaned(_SHORT.repr(value), LONGEST_SHOWN)


def counted(number: int, what: str) -> str:
    """A number of things in a message: `1 prompt`, `2 prompts`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def nearest(text: str, names: Iterable[str], cutoff: float = 0.5) -> list[str]:
    """At most three names that are like what somebody typed, whatever the case; the nearest first.

    Args:
        text (`str`): What was typed.
        names (`Iterable[str]`): What there is.
        cutoff (`float`, defaults to 0.5): How like it a name must be, from 0 to 1.
    """
    known = {name.lower(): name for name in names}
    return [known[name] for name in difflib.get_close_matches(text[:300].lower(), known, n=3, cutoff=cutoff)]


def did_you_mean(text: str, names: Iterable[str], command: str) -> str:
    """What a message about an unknown name goes on with: the few that come near, and the command that lists all."""
    near = nearest(text, names)
    asked = f": did you mean {' or '.join(near)}?" if near else ";"
    return f"{asked} `{command}` lists all names"


def cleaned(text: str, longest: int = 300) -> str:
    """Text of a stranger's (a path, a label, what a parser says) in a message: on one line, cut to `longest`
    characters, with control characters, and others that nobody sees, escaped."""
    # Cut first: what is dropped need not be looked at. A character is escaped by at most ten.
    line = visible(" ".join(text[: 2 * longest].split()))
    return line if len(line) <= longest and len(text) <= 2 * longest else line[: longest - 3] + "..."


def visible(text: str) -> str:
    """Text with its control characters, and others that nobody sees, escaped, so that a terminal does not obey them;
    lines stay lines."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text)


class _Short(reprlib.Repr):
    """`repr` that stops early."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxstring = self.maxlong = self.maxother = LONGEST_SHOWN
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = 8

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write out integers of many digits, and before 3.11 takes its time.
        return f"an integer of {x.bit_length()} bits" if x.bit_length() > 4096 else super().repr_int(x, level)


_SHORT = _Short()
