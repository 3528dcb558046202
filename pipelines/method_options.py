"""Methods from text and to text: `--set key=value`, and the method written into a picture's metadata."""

from __future__ import annotations

import dataclasses
import tempfile
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

import toca


def override(method: Any, settings: list[str]) -> Any:
    """A copy of a method with fields replaced.

    Args:
        method: a method object.
        settings (`list[str]`): `key=value`, the value in YAML: `interval=3`, `fresh_ratio=0.3`, `grid=null`.

    Raises:
        ValueError: for an unknown field (the message lists the fields) or a value of the wrong type.
    """
    if settings and isinstance(method, toca.Plan):
        raise ValueError("A plan is fixed: --set works with a preset or a method, not with a plan.")
    changes = dict(_parse(type(method), text) for text in settings)
    return dataclasses.replace(method, **changes) if changes else method


def _parse(cls: type, text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"--set wants key=value, got {text!r}.")
    hints = field_types(cls)
    if key not in hints:
        raise ValueError(f"{cls.__name__} has no field {key!r}; its fields are {', '.join(hints)}.")
    try:
        return key, convert(yaml.safe_load(value), hints[key])
    except (TypeError, ValueError, yaml.YAMLError) as error:
        wanted = getattr(hints[key], "__name__", str(hints[key])) if isinstance(hints[key], type) else hints[key]
        raise ValueError(f"{value!r} does not fit {cls.__name__}.{key}, which is {wanted}.") from error


def field_types(cls: type) -> dict[str, Any]:
    """The fields of a method's class that its constructor takes, with their types."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


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
    return _convert_scalar(value, hint)


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


def find_method(text: str) -> Any:
    """A method from what `--method` says: a preset's name, a method's short name, or the path of a saved plan.

    Raises:
        ValueError: for an unknown name (the message lists the names) or a corrupt plan.
    """
    if text in toca.methods():
        return toca.methods()[text]()
    if text in toca.presets():
        return toca.preset(text)
    if Path(text).suffix in (".yaml", ".yml", ".json") or Path(text).is_file():
        return load_plan(text)
    known = ", ".join([*toca.methods(), *toca.presets()])
    raise ValueError(f"Unknown method {text!r}: name one of {known}, or the file of a saved plan.")


def load_plan(path: str) -> Any:
    """A saved plan. Raises `FileNotFoundError` if there is no such file and `ValueError` if it is corrupt."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no plan file {path}.")
    return toca.Plan.load(path)


def method_name(method: Any) -> str:
    """What to call a method on a picture: the preset it equals, else its short name; `plan` for a plan."""
    presets = (name for name, preset in toca.presets().items() if preset == method)
    names = (name for name, cls in toca.methods().items() if cls is type(method))
    return next(presets, next(names, "plan"))


def to_data(method: Any) -> dict[str, Any]:
    """A method, or a whole plan, as plain data for JSON."""
    if isinstance(method, toca.Plan):
        return {"plan": _plan_text(method)}
    name = next(name for name, cls in toca.methods().items() if cls is type(method))
    return {"method": name, "fields": {key: getattr(method, key) for key in field_types(type(method))}}


def from_data(data: dict[str, Any]) -> Any:
    """The method or plan that `to_data` described. Raises `ValueError` if this version does not know it."""
    if "plan" in data:
        return _plan_from_text(data["plan"])
    cls = toca.methods().get(data.get("method", ""))
    if cls is None:
        raise ValueError(f"This version of toca has no method {data.get('method')!r}.")
    try:
        hints = field_types(cls)
        return cls(**{key: convert(value, hints[key]) for key, value in data["fields"].items()})
    except (KeyError, TypeError) as error:
        raise ValueError(f"The recorded settings of {cls.__name__} do not fit this version of toca.") from error


def _plan_text(plan: Any) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        plan.save(path)
        return path.read_text(encoding="utf-8")


def _plan_from_text(text: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        path.write_text(text, encoding="utf-8")
        return toca.Plan.load(path)
