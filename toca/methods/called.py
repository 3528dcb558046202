"""What a name means in `toca.enable_cache`: a preset, a method, or what lies in a folder or a hub's repository."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from ..checks import cleaned, did_you_mean, nearest
from ..files.reading import named as named_path
from ..plan import Plan
from ..registry import LISTING, named, registered
from ..sharing.places import PLAN, shared_in
from ..sharing.sources import fetch, find_here, folder_here, is_hub_id, tell_of_both
from .base import Method
from .presets import presets


class Called(NamedTuple):
    """What a name means.

    Attributes:
        method (`Method` or `Plan`): That.
        about (`str`): What it is, for a summary; empty where the name says it.
    """

    method: Any
    about: str = ""


def called(name: str | PathLike, with_front: bool = False) -> Called:
    """What a name means: a preset or a method of this name, else a model that comes with toca, else a folder here,
    else a repository of the hub. Nothing is fetched where the half before the `/` is a method's name: that is a
    preset, if a misspelt one.

    Args:
        name (`str` or `PathLike`): The name; a path is none, and means a folder.
        with_front (`bool`, defaults to `False`): Whether a front is meant where it lies with other things.

    Raises:
        ValueError: If it means nothing, or a folder or repository holds nothing, or several things; it says what to
            do.
        ConnectionError: If the hub is asked, and cannot be reached.
    """
    if not isinstance(name, str):
        folder = find_here(name)
        if folder is None:
            raise ValueError(f"There is no folder {named_path(name)}.")
        return _held(folder, str(name), with_front)
    try:
        known = named(name)
    except ValueError:
        return _held(_elsewhere(name), name, with_front)
    folder = folder_here(name)
    if folder is not None:
        tell_of_both(name, "a preset" if name in presets() else "a method", folder)
    return Called(known)


def _elsewhere(name: str) -> Path:
    """The folder that a name means which is no method's and no preset's."""
    folder = find_here(name)
    if folder is not None:
        return folder
    if not is_hub_id(name) or name.partition("/")[0] in registered("method"):
        raise ValueError(_unknown(name))
    try:
        return fetch(name)
    except (ValueError, ConnectionError) as error:
        near = " or ".join(nearest(name, presets()))
        raise type(error)(f"{error} It is no preset either: did you mean {near}?" if near else str(error)) from error


def _unknown(name: str) -> str:
    near = did_you_mean(name, [*registered("method"), *presets()], LISTING)
    return f"There is no method, preset or folder {cleaned(repr(name), 120)}{near}."


def _held(folder: Path, name: str, with_front: bool) -> Called:
    """The one thing that lies in a folder."""
    ways = _ways(folder)
    if with_front and "tuned" in ways:
        ways = {"tuned": ways["tuned"]}
    if not ways:
        wanted = "no plan, front, calibration or router: `save_pretrained` of one writes it"
        raise ValueError(f"{cleaned(name)} holds {wanted}.")
    if len(ways) > 1:
        said = " or ".join(ways.values())
        raise ValueError(f"{cleaned(name)} holds several things that could be meant, so say which: {said}.")
    ((held, _),) = ways.items()
    if held == Path(PLAN).stem:
        plan = Plan.load(folder / PLAN)
        return Called(plan, f"{plan.method}, the plan of {cleaned(name)}")
    method: Method = registered("method")[held]().beside(folder)
    return Called(method, f"{method.label}, by the file of {cleaned(name)}")


def _ways(folder: Path) -> Mapping[str, str]:
    """How to name what lies in a folder, in a message that says how each could be meant."""
    found = {}
    for held, path in shared_in(folder).items():
        files = getattr(registered("method").get(held), "files", ())
        if path.name == PLAN:
            found[held] = f"toca.Plan.load({str(path)!r})"
        elif files:
            found[held] = f"toca.methods()[{held!r}]({files[0]}={str(path)!r})"
    return found
