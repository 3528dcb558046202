"""Validation of values that users give."""

from __future__ import annotations

from typing import Any


def check(condition: bool, name: str, value: Any, requirement: str) -> None:
    """Raise a `ValueError` that names the value unless `condition` holds."""
    if not condition:
        raise ValueError(f"`{name}` {requirement}, got {value!r}.")
