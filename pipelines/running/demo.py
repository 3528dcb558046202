"""`toca demo`, run."""

from __future__ import annotations

from contextlib import ExitStack

from toca.pipelines.commands.console import errors, output
from toca.pipelines.demo.serving import serving


def run(model: str | None, host: str, port: int | None) -> None:
    """Serve the demo until somebody stops it. Raises as `serving`."""
    with ExitStack() as stack:
        with errors.status("Loading the model"):
            blocks = stack.enter_context(serving(model, host, port))
        output.print(f"The demo is at {blocks.local_url}; Ctrl-C ends it.")
        blocks.block_thread()
