"""`toca models`."""

from __future__ import annotations

from rich.table import Table

from toca.pipelines import registry
from toca.pipelines.commands.console import output


def models() -> None:
    """List the models that have a name. A folder or a hub id works as well."""
    table = Table("model", "what it makes", "steps", "guidance", "method", "source")
    for entry in registry.models().values():
        source = "embedded" if entry.source == str(registry.EMBEDDED) else entry.source
        table.add_row(entry.name, entry.about, str(entry.steps), f"{entry.guidance_scale:g}", entry.method, source)
    output.print(table)
