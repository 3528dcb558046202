"""Plain data, as JSON and YAML give it, into the types that a dataclass asks for."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

Special = Callable[[Any, type], Any]
"""`(value, class) -> what the class makes of it`, or `NotImplemented` where it has no say."""


def convert_plain(value: Any, hint: Any, special: Special) -> Any:
    """A value as the type that a field asks for.

    Args:
        value: Plain data.
        hint: The type.
        special (`Callable`): Asked first wherever a class is wanted.

    Raises:
        TypeError: If it is another.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_any(value, arguments, special)
    if origin is typing.Literal:
        return require(value in arguments, value, hint)
    if origin is tuple:
        return _convert_tuple(value, arguments, special)
    if origin in (dict, Mapping):
        require(isinstance(value, dict), value, hint)
        key_hint, value_hint = arguments
        return {
            convert_plain(key, key_hint, special): convert_plain(item, value_hint, special)
            for key, item in value.items()
        }
    made = special(value, hint) if isinstance(hint, type) else NotImplemented
    return _convert_scalar(value, hint) if made is NotImplemented else made


def _convert_any(value: Any, hints: tuple[Any, ...], special: Special) -> Any:
    for hint in hints:
        try:
            return convert_plain(value, hint, special)
        except TypeError:
            continue
    raise TypeError(f"{value!r} is none of {hints}")


def _convert_tuple(value: Any, hints: tuple[Any, ...], special: Special) -> tuple[Any, ...]:
    require(isinstance(value, (list, tuple)), value, tuple)
    items = list(value)
    if hints[-1] is Ellipsis:
        hints = (hints[0],) * len(items)
    require(len(items) == len(hints), value, tuple)
    return tuple(convert_plain(item, hint, special) for item, hint in zip(items, hints, strict=True))


def _convert_scalar(value: Any, hint: Any) -> Any:
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is None or hint is type(None):
        return require(value is None, value, hint)
    # bool is an int to isinstance, but `interval=true` is a mistake.
    return require(isinstance(value, hint) and (hint is bool) == isinstance(value, bool), value, hint)


def require(condition: bool, value: Any, hint: Any) -> Any:
    """`value` itself; a `TypeError` that it is not of a type unless `condition` holds."""
    if not condition:
        raise TypeError(f"{value!r} is not {hint}")
    return value
