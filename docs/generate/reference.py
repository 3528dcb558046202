"""The page of the library: every public name, by the room that it comes from."""

from __future__ import annotations

import toca

ROOMS = {
    "api": "On, off, and what it did",
    "engine": "On, off, and what it did",
    "calibration": "Plans",
    "plan": "Plans",
    "tuning": "Plans",
    "methods": "Methods",
    "axes": "The axes",
    "models": "Models",
    "family_check": "Models",
    "registry": "Registering",
}
"""The heading of each room's names."""


def headings() -> dict[str, list[str]]:
    """The public names by heading."""
    found: dict[str, list[str]] = {heading: [] for heading in ROOMS.values()}
    for name in sorted(toca.__all__, key=lambda name: list(ROOMS).index(_room(name))):
        found[ROOMS[_room(name)]].append(name)
    return found


def _room(name: str) -> str:
    return getattr(toca, name).__module__.split(".")[1]


def page() -> str:
    """What mkdocstrings reads: a line for each name. Methods have pages of their own."""
    lines = ["# Reference", "", "Everything in `toca.__all__`.", ""]
    for heading, names in headings().items():
        lines += [f"## {heading}", ""]
        methods = [name for name in names if is_method(name)]
        if methods:
            links = (f"[`{name}`](methods/{getattr(toca, name).name}.md)" for name in methods)
            lines += [f"{', '.join(links)} have pages of their own.", ""]
        for name in names:
            if not is_method(name):
                lines += [f"::: {_path(name)}", ""]
    return "\n".join(lines)


def _path(name: str) -> str:
    """Where a public name is defined."""
    value = getattr(toca, name)
    return f"{value.__module__}.{value.__qualname__}"


def is_method(name: str) -> bool:
    """Whether a public name is a method, and not what all methods derive from."""
    value = getattr(toca, name)
    return isinstance(value, type) and issubclass(value, toca.Method) and value is not toca.Method
