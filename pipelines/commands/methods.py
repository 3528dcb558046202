"""`toca methods`."""

from __future__ import annotations

from typing import Annotated

import typer

from toca.pipelines.commands import options
from toca.pipelines.commands.completion import method_beginning
from toca.pipelines.commands.joining import command

NameArgument = Annotated[
    str | None,
    typer.Argument(metavar="[NAME]", help="A method or preset to explain.", autocompletion=method_beginning),
]
FamilyOption = Annotated[
    str | None, typer.Option("--family", metavar="NAME", help="Those that work on it; see `toca models --families`.")
]


@command(place=20)
def methods(
    name: NameArgument = None,
    family: FamilyOption = None,
    model: options.ModelOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """List the methods and presets, those of one family or model, or explain one."""
    from toca.pipelines.running.methods import run

    run(name, family, model, as_json)
