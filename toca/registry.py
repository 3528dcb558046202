"""Methods as plain data, for files and command lines: `{"method": name, "fields": {...}}`."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from .checks import shown
from .methods.base import Method


def field_types(cls: type) -> dict[str, Any]:
    """The fields of a method's class that its constructor takes, with their types."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def to_data(method: Method) -> dict[str, Any]:
    """A method as plain data for JSON and YAML."""
    fields = {name: getattr(method, name) for name in field_types(type(method))}
    return {"method": method.name, "fields": {name: _plain(value) for name, value in fields.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Method):
        return to_data(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def from_data(data: Mapping[str, Any]) -> Method:
    """The method that `to_data` described.

    Raises:
        ValueError: If this version has no such method, or its fields are others.
    """
    from .methods import methods

    cls = methods().get(str(data.get("method", "")))
    if cls is None:
        raise ValueError(f"This version of toca has no method {shown(data.get('method'))}.")
    if unknown := [key for key in data if key not in ("method", "fields")]:
        raise ValueError(f"A method is recorded by its name and its fields, and not by {shown(unknown[0])}.")
    try:
        hints = field_types(cls)
        return cls(**{key: convert(value, hints[key]) for key, value in data["fields"].items()})
    except (KeyError, TypeError, AttributeError) as error:
        said = f"The recorded settings of {cls.__name__} do not fit this version of toca"
        raise ValueError(f"{said}: {_misfit(data.get('fields'), hints)}.") from error


def _misfit(fields: Any, hints: Mapping[str, Any]) -> str:
    """What is wrong with recorded fields that could not be read."""
    if not isinstance(fields, Mapping):
        return f"`fields` must be a mapping, got {shown(fields)}"
    for key, value in fields.items():
        if key not in hints:
            return f"there is no field {shown(key)}"
        try:
            convert(value, hints[key])
        except TypeError:
            return f"{shown(value)} is no value of `{key}`"
    return "a field is missing"


def named(text: str) -> Method:
    """A method by the name of a preset, or by its own short name with the values it has by default.

    Raises:
        ValueError: If there is none of this name; it suggests the nearest ones.
    """
    from .methods import methods, preset, presets

    if text in presets():
        return preset(text)
    if text in methods():
        return methods()[text]()
    raise ValueError(f"There is no method or preset {text!r}{suggestion(text, [*methods(), *presets()])}.")


def suggestion(text: str, names: Iterable[str]) -> str:
    """What a message about an unknown name goes on with: the few names that come near, and where all are listed."""
    near = difflib.get_close_matches(text, list(names), n=4, cutoff=0.5)
    asked = f": did you mean {' or '.join(near)}?" if near else ";"
    return f"{asked} `toca methods` lists all names"


def convert(value: Any, hint: Any) -> Any:
    """Plain data (as YAML or JSON gives it) as the type that a field asks for. Raises `TypeError` if it is another."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_any(value, arguments)
    if origin is typing.Literal:
        return _require(value in arguments, value, hint)
    if origin is tuple:
        return _convert_tuple(value, arguments)
    if origin in (dict, Mapping):
        _require(isinstance(value, dict), value, hint)
        key_hint, value_hint = arguments
        return {convert(key, key_hint): convert(item, value_hint) for key, item in value.items()}
    if isinstance(hint, type) and issubclass(hint, Method):
        return _convert_method(value, hint)
    return _convert_scalar(value, hint)


def _convert_method(value: Any, hint: type) -> Any:
    if isinstance(value, str):
        return named(value)
    return from_data(value) if isinstance(value, dict) else _require(isinstance(value, hint), value, hint)


def _convert_any(value: Any, hints: tuple[Any, ...]) -> Any:
    for hint in hints:
        try:
            return convert(value, hint)
        except TypeError:
            continue
    raise TypeError(f"{value!r} is none of {hints}")


def _convert_tuple(value: Any, hints: tuple[Any, ...]) -> tuple[Any, ...]:
    _require(isinstance(value, (list, tuple)), value, tuple)
    items = list(value)
    if hints[-1] is Ellipsis:
        hints = (hints[0],) * len(items)
    _require(len(items) == len(hints), value, tuple)
    return tuple(convert(item, hint) for item, hint in zip(items, hints, strict=True))


def _convert_scalar(value: Any, hint: Any) -> Any:
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is None or hint is type(None):
        return _require(value is None, value, hint)
    # bool is an int to isinstance, but `interval=true` is a mistake.
    return _require(isinstance(value, hint) and (hint is bool) == isinstance(value, bool), value, hint)


def _require(condition: bool, value: Any, hint: Any) -> Any:
    if not condition:
        raise TypeError(f"{value!r} is not {hint}")
    return value
