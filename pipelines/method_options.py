"""Methods from text and to text: `--set key=value`, and the method written into a picture's metadata."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any, get_origin

import toca
from toca.checks import cleaned, did_you_mean, nearest, shown
from toca.files.reading import parse_yaml
from toca.methods.presets import presets
from toca.registry import LISTING, convert, field_types, from_data, to_data

PACKAGE = Path(__file__).parent.as_posix() + "/"
IN_PACKAGE = "toca.pipelines:"
FEW_FIELDS = 6
"""So many fit into a sentence."""


def override(method: Any, settings: list[str]) -> Any:
    """A copy of a method with fields replaced.

    Args:
        method: a method object.
        settings (`list[str]`): `key=value`, the value in YAML: `interval=3`, `fresh_ratio=0.3`, `grid=null`; for a
            method within a method `key.key=value`: `when.threshold=0.1`.

    Raises:
        ValueError: for an unknown field (the message names those that come near) or a value of the wrong type.
    """
    if settings and isinstance(method, toca.Plan):
        raise ValueError("A plan is fixed: --set works with a preset or a method, not with a plan.")
    for text in settings:
        method = _set(method, text)
    return method


def _set(method: Any, text: str) -> Any:
    path, separator, _ = text.partition("=")
    outer, dot, _ = path.partition(".")
    if separator and dot and isinstance(getattr(method, outer, None), toca.Method):
        changed = _set(getattr(method, outer), text[len(outer) + 1 :])
        return dataclasses.replace(method, **{outer: changed})
    key, value = _parse(type(method), text)
    return dataclasses.replace(method, **{key: value})


def _parse(cls: type, text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"--set wants key=value, got {text!r}.")
    hints = field_types(cls)
    if key not in hints:
        raise ValueError(f"{cls.__name__} has no field {shown(key)}{_fields_near(key, cls, hints)}.")
    try:
        return key, _read(value, hints[key])
    except (TypeError, ValueError) as error:
        wanted = kind_text(hints[key])
        raise ValueError(f"{shown(value)} does not fit {cls.__name__}.{key}, which is {wanted}.") from error


def kind_text(hint: Any) -> str:
    """A type as a person reads it; on Python 3.10 `tuple[int, ...]` is an instance of `type` too, by name `tuple`."""
    return hint.__name__ if get_origin(hint) is None and isinstance(hint, type) else str(hint)


def _fields_near(key: str, cls: type, hints: dict[str, Any]) -> str:
    """What to say of a field that there is not."""
    near = nearest(key, hints)
    if not near and len(hints) <= FEW_FIELDS:
        return f"; its fields are {', '.join(hints)}"
    asked = f": did you mean {' or '.join(near)}?" if near else ";"
    return f"{asked} `toca methods {getattr(cls, 'name', 'NAME')}` lists its fields"


def _read(text: str, hint: Any) -> Any:
    """A value of a field, in YAML or as Python writes it: `null` and `None`, `[0.2, 0.4]` and `(0.2, 0.4)`.

    Raises:
        TypeError, ValueError: If it is neither, or of another type than the field's.
    """
    try:
        return convert(parse_yaml(text), hint)
    except (TypeError, ValueError):
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = None
        if not (text.strip() == "None" or isinstance(value, (tuple, dict))):
            raise
        return convert(json.loads(json.dumps(value)), hint)


def find_method(text: str) -> Any:
    """A method from what `--method` says: a preset's name, a method's short name, or the path of a saved plan.

    Raises:
        ValueError: for an unknown name (the message suggests the nearest) or a corrupt plan.
    """
    if text in toca.methods():
        return toca.methods()[text]()
    if text in presets():
        return presets()[text]
    if Path(text).suffix in (".yaml", ".yml", ".json") or os.path.isfile(text):
        return load_plan(text)
    near = did_you_mean(text, [*toca.methods(), *presets()], LISTING)
    raise ValueError(f"Unknown method {shown(text)}{near}, or give the file of a saved plan.")


def load_plan(path: str) -> Any:
    """A saved plan. Raises `FileNotFoundError` if there is no such file and `ValueError` if it is corrupt."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no plan file {cleaned(path)}.")
    return toca.Plan.load(path)


def method_name(method: Any) -> str:
    """What to call a method on a picture: the preset it equals, else its short name; `plan` for a plan, and its own
    name for one that was made on the model."""
    if isinstance(method, toca.Plan):
        return "plan" if method.origin is None else cleaned(method.method, 60)
    names = (name for name, preset in presets().items() if preset == method)
    classes = (name for name, cls in toca.methods().items() if cls is type(method))
    return next(names, next(classes, "plan"))


def recorded(method: Any) -> dict[str, Any]:
    """A method, or a whole plan, as plain data for JSON."""
    if isinstance(method, toca.Plan):
        return {"plan": _plan_text(method)}
    # A file of this package lies elsewhere on another machine.
    return _replaced(to_data(method), PACKAGE, IN_PACKAGE)


def from_record(data: dict[str, Any]) -> Any:
    """The method or plan that `recorded` described. Raises `ValueError` if this version does not know it."""
    if "plan" not in data:
        return from_data(_replaced(data, IN_PACKAGE, PACKAGE))
    if len(data) > 1:
        raise ValueError(f"a plan is recorded alone, and not with {shown([key for key in data if key != 'plan'])}.")
    if not isinstance(data["plan"], str):
        raise ValueError(f"its plan must be text, got {shown(data['plan'])}.")
    return _plan_from_text(data["plan"])


def _replaced(data: Any, start: str, by: str) -> Any:
    """Plain data in which every text that begins with `start` begins with `by`."""
    if isinstance(data, dict):
        return {key: _replaced(value, start, by) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return type(data)(_replaced(value, start, by) for value in data)
    return by + data[len(start) :] if isinstance(data, str) and data.startswith(start) else data


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
