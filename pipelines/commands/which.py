"""`toca which`."""

from __future__ import annotations

from typing import Annotated

import typer

from toca.pipelines.commands import options
from toca.pipelines.commands.joining import command
from toca.pipelines.registry import DEFAULT_MODEL

SpeedupOption = Annotated[
    float | None, typer.Option("--speedup", metavar="X", help="How many times as fast as the full model, at least.")
]


@command(place=35)
def which(model: options.ModelArgument = DEFAULT_MODEL, speedup: SpeedupOption = None) -> None:
    """Say which method and setting to take on a model, for a speed, and how that is known."""
    from toca.pipelines.running.which import run

    run(model, speedup)
