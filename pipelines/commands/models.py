"""`toca models`."""

from __future__ import annotations

from typing import Annotated

import typer

from toca.pipelines.commands import options
from toca.pipelines.commands.joining import command

FamiliesOption = Annotated[bool, typer.Option("--families", help="List the transformers that a cache works on.")]


@command(place=30)
def models(families: FamiliesOption = False, as_json: options.JsonOption = False) -> None:
    """List the models that have a name. A folder or a hub id works as well."""
    from toca.pipelines.running.models import run

    run(families, as_json)
