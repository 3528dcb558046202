"""The page of the command line, out of what its commands say of themselves."""

from __future__ import annotations

from typing import Any

import typer
from typer.cli import get_docs_for_click
from typer.main import get_command

from toca.pipelines.cli import app


def page() -> str:
    """Every command with its arguments and options, as `--help` has them."""
    command = get_command(app)
    context = typer.Context(command, info_name="toca")
    _whole_sentences(command, context)
    return get_docs_for_click(obj=command, ctx=context, name="toca").replace("# `toca`", "# The command line", 1)


def _whole_sentences(command: Any, context: Any) -> None:
    """Lists of commands would cut off what these say of themselves."""
    if command.help:
        command.short_help = command.help
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            _whole_sentences(command.get_command(context, name), context)
