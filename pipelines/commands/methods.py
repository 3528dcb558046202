"""`toca methods`."""

from __future__ import annotations

from typing import Any

from rich.table import Table

import toca
from toca.pipelines.commands.console import output
from toca.pipelines.method_options import field_types


def methods() -> None:
    """List the methods with their fields, and the presets."""
    output.print(_methods_table())
    output.print(_presets_table())


def _methods_table() -> Table:
    table = Table("method", "what it does", "fields (--set key=value)", title="Methods", title_justify="left")
    for name, cls in toca.methods().items():
        table.add_row(name, first_line(cls), _fields(cls()))
    return table


def _presets_table() -> Table:
    table = Table("preset", "method", "fields that differ", title="Presets", title_justify="left")
    for name, preset in toca.presets().items():
        table.add_row(name, type(preset).__name__, _fields(preset, only_changed=True))
    return table


def first_line(cls: type) -> str:
    """The first line of a class's docstring."""
    return (cls.__doc__ or "").strip().split("\n")[0]


def _fields(method: Any, only_changed: bool = False) -> str:
    default = type(method)()
    values = {name: getattr(method, name) for name in field_types(type(method))}
    shown = (name for name, value in values.items() if not only_changed or value != getattr(default, name))
    return ", ".join(f"{name}={values[name]}" for name in shown)
