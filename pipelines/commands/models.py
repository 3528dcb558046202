"""`toca models`."""

from __future__ import annotations

from rich.table import Column, Table

from toca.pipelines import registry
from toca.pipelines.commands.console import output


def models() -> None:
    """List the models that have a name. A folder or a hub id works as well."""
    table = Table("model", Column("what it makes", overflow="fold"), "steps", "guidance", "method")
    for entry in registry.models().values():
        about = entry.about if entry.source == str(registry.EMBEDDED) else f"{entry.about}\n{entry.source}"
        table.add_row(entry.name, about, str(entry.steps), f"{entry.guidance_scale:g}", entry.method)
    output.print(table)
