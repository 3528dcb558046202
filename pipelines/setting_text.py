"""Settings as text: what `--set` has to say to make one method of another, and values that YAML reads back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from toca.files.reading import parse_yaml
from toca.methods import Method
from toca.registry import field_types

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")


def settings_of(method: Any, base: Any) -> list[str]:
    """`key=value` of every field in which a method is not `base`, in the order of the fields; no text has a space.

    `override(base, settings_of(method, base))` equals `method`.

    Args:
        method: a method, or another frozen dataclass of settings.
        base: one of the same class.
    """
    settings: list[str] = []
    for name in field_types(type(method)):
        value, other = getattr(method, name), getattr(base, name)
        if value == other and type(value) is type(other):
            continue
        if isinstance(value, Method):
            settings += _nested(name, value, other)
        else:
            settings.append(f"{name}={value_text(value)}")
    return settings


def _nested(name: str, value: Method, other: Any) -> list[str]:
    """A method within a method: its name, unless the other's is the same, and then its own fields."""
    same = type(value) is type(other)
    own = settings_of(value, other if same else type(value)())
    return [*([] if same else [f"{name}={value.name}"]), *(f"{name}.{setting}" for setting in own)]


def value_text(value: Any) -> str:
    """A value as YAML on one line, without a space or a semicolon."""
    if isinstance(value, Mapping):
        # Without a space YAML sees a key only in quotation marks.
        return "{" + ",".join(f"{_quoted(str(key))}:{value_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(value_text(item) for item in value) + "]"
    if isinstance(value, str):
        return value if _is_plain(value) else _quoted(value)
    # YAML takes 1e-05 for text, and 1.0e-05 for a number.
    return re.sub(r"^(-?\d+)e", r"\1.0e", json.dumps(value))


def _is_plain(text: str) -> bool:
    return _PLAIN.fullmatch(text) is not None and parse_yaml(text) == text


def _quoted(text: str) -> str:
    return json.dumps(text).replace(" ", "\\u0020").replace(";", "\\u003b")
