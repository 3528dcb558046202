"""How a command joins the command line: ours by a file in this folder, another package's by an entry point.

The entry point belongs to the group `toca.commands`; its name is the command's, and it names a function for Typer or a
`typer.Typer`. `toca eval` is one: nothing here knows of it. Another group, `toca.plugins`, names modules that register
something when they are imported.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, distributions
from typing import Any, TypeVar

import typer
from typer.main import get_group

from toca.checks import cleaned
from toca.pipelines import commands
from toca.pipelines.commands.console import errors

COMMANDS = "toca.commands"
PLUGINS = "toca.plugins"

Run = TypeVar("Run", bound=Callable[..., None])
_PLACES: dict[str, tuple[int, Callable[..., None]]] = {}


def command(place: int) -> Callable[[Run], Run]:
    """Makes a function a command of its name: `@command(place=70)`.

    Args:
        place (`int`): Commands are listed from the lowest to the highest.
    """

    def join(run: Run) -> Run:
        _PLACES[run.__name__] = place, run
        return run

    return join


def our_commands() -> list[Callable[..., None]]:
    """The commands of all files in this folder, in the order of their places."""
    for module in pkgutil.iter_modules(commands.__path__, f"{commands.__name__}."):
        importlib.import_module(module.name)
    return [run for _, run in sorted(_PLACES.values(), key=lambda joined: (joined[0], joined[1].__name__))]


def their_commands(taken: Iterable[str]) -> dict[str, Any]:
    """The commands of entry points by name. One that cannot be had is a line on stderr, and the others go on.

    Args:
        taken (`Iterable[str]`): Names that are ours.
    """
    found: dict[str, Any] = {}
    ours = set(taken)
    for point in _entry_points(COMMANDS):
        if point.name in ours or point.name in found:
            _warn(f"toca {point.name}", point, "there is another of this name")
            continue
        try:
            found[point.name] = _made(point.name, point.load())
        except Exception as error:
            _warn(f"toca {point.name}", point, f"{type(error).__name__}: {error}")
    return found


def import_plugins() -> None:
    """Import what other packages name in the group `toca.plugins`, so that their methods, families and metrics are
    known by their names. What cannot be had is a line on stderr, and the others go on."""
    for point in _entry_points(PLUGINS):
        try:
            point.load()
        except Exception as error:
            _warn(point.value, point, f"{type(error).__name__}: {error}")


def _entry_points(group: str) -> list[EntryPoint]:
    """All of the group. Every installation is asked: an old `toca.egg-info` that lies in a checkout hides those of the
    real one from whoever asks for all entry points at once."""
    found = (point for each in distributions() for point in each.entry_points if point.group == group)
    return sorted({(point.name, point.value): point for point in found}.values(), key=lambda point: point.name)


def _made(name: str, joined: Any) -> Any:
    """A function or an app as Typer's own kind of command."""
    host = typer.Typer(add_completion=False)
    if isinstance(joined, typer.Typer):
        host.add_typer(joined, name=name)
    elif callable(joined):
        host.command(name)(joined)
    else:
        raise TypeError(f"{joined!r} is neither a function nor a typer.Typer")
    return get_group(host).commands[name]


def _warn(what: str, point: EntryPoint, reason: str) -> None:
    package = point.dist.name if point.dist is not None else point.value
    told = f"Warning: `{cleaned(what)}` of {cleaned(package)} is left out: {cleaned(reason)}"
    errors.print(told, style="yellow")
