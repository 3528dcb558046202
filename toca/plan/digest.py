"""What a plan does, in a short text: two plans that do the same have the same."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from typing import Any

from ..axes.actions import Action
from ..registry import Registered
from .table import PlanTable


def digest_of(plan: PlanTable) -> str:
    """The digest of a plan: of its table, its spans and its values on the axes, in 16 hexadecimal digits. Neither its
    name nor the model counts."""
    # Few rows are different ones, and a plan's equal rows are one tuple.
    rows = {id(row): row for row in plan.table}
    order = [list(rows).index(id(row)) for row in plan.table]
    axes = (plan.selection, plan.fill, plan.gate)
    said = (list(rows.values()), order, plan.spans, plan.guided, *axes, plan.timesteps)
    return hashlib.sha256(json.dumps(_said(said)).encode()).hexdigest()[:16]


def _said(value: Any) -> Any:
    """A value as plain data. What a field holds by default is not said, so that a field that a class is given later
    changes no digest."""
    if isinstance(value, (tuple, list)):
        return [_said(item) for item in value]
    if isinstance(value, dict):
        return [[key, _said(value[key])] for key in sorted(value)]
    if isinstance(value, Action):
        return _said_of(value)
    return _fields(value) if dataclasses.is_dataclass(value) else value


@functools.cache
def _said_of(action: Action) -> Any:
    return _fields(action)


def _fields(value: Any) -> list[Any]:
    named = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    fields = {f.name: f.default for f in dataclasses.fields(value)}
    name = value.name if isinstance(value, Registered) else ""
    return [name, *([key, _said(item)] for key, item in sorted(named.items()) if item != fields[key])]
