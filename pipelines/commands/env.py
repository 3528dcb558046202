"""`toca env`."""

from __future__ import annotations

from toca.pipelines.commands import options
from toca.pipelines.commands.joining import command


@command(place=60)
def env(as_json: options.JsonOption = False) -> None:
    """Show versions and devices, and which of the versions are not tested."""
    from toca.pipelines.running.env import run

    run(as_json)
