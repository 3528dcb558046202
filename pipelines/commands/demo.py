"""`toca demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from toca.pipelines.commands import options
from toca.pipelines.commands.joining import command

HostOption = Annotated[str, typer.Option("--host", help="Where to listen; 0.0.0.0 lets other machines in.")]
PortOption = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="A free one from 7860 by default.")]


@command(place=15)
def demo(model: options.ModelOption = None, host: HostOption = "127.0.0.1", port: PortOption = None) -> None:
    """Open a page to try it on: pictures by the full model and with a cache, side by side."""
    from toca.pipelines.running.demo import run

    run(model, host, port)
