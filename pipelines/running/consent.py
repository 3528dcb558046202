"""Asking before something is done that a file wants, and not its user."""

from __future__ import annotations

import sys

import typer

from toca.checks import cleaned
from toca.pipelines.commands.console import errors
from toca.pipelines.metadata import Record
from toca.pipelines.registry import find_model
from toca.pipelines.request import Request


def ask_about(record: Record, request: Request, yes: bool) -> None:
    """Tell what a recipe would have loaded or read that its user did not name, and ask.

    Args:
        record (`Record`): what the PNG says.
        request (`Request`): what the user named; it wins over the recipe.
        yes (`bool`): whether the user has agreed beforehand.

    Raises:
        ValueError: if the user does not agree, or cannot be asked.
    """
    wanted = _unnamed(record, request)
    if not wanted:
        return
    wish = f"{cleaned(record.path)} asks for {' and '.join(wanted)}, which you did not name"
    if yes:
        errors.print(f"Note: {wish}.", style="yellow")
    elif not is_terminal():
        raise ValueError(f"{wish}: name what is to be used with --model and --method, or agree with --yes.")
    else:
        errors.print(f"{wish}.", style="yellow")
        if not typer.confirm("Go on?", err=True):
            raise ValueError("Nothing was made: name what is to be used with --model and --method.")


def is_terminal() -> bool:
    """Whether somebody sits there who can be asked."""
    return sys.stdin.isatty()


def _unnamed(record: Record, request: Request) -> list[str]:
    """What a stranger could choose; models that have a name here are known."""
    wanted = []
    if request.model is None and find_model(record.model) is None:
        wanted.append(f"the model {cleaned(record.model)!r}")
    if not names_method(request):
        wanted += [f"the file {cleaned(file)!r}" for file in record.files()]
    return wanted


def names_method(request: Request) -> bool:
    """Whether the user chose a method, so that the recipe's is not looked at."""
    return request.method is not None or request.plan is not None or request.speedup is not None
