"""Which releases of Python and of what toca needs the suite has run with, from the oldest to the newest.

They are the two lists of pins in `tested/`, of which `make test-oldest` and `make test-newest` make environments.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.version import Version

_FOLDER = Path(__file__).parent / "tested"
_PIN = re.compile(r"^(?:# )?([a-z0-9-]+)==([\w.]+)$", re.MULTILINE)


def pins(end: str) -> dict[str, str]:
    """The releases of one end, by package, `python` among them.

    Args:
        end (`str`): "oldest" or "newest".
    """
    return dict(_PIN.findall((_FOLDER / f"{end}.txt").read_text(encoding="utf-8")))


def untested(names: Iterable[str]) -> list[str]:
    """One sentence for each of these packages (or `python`) that is installed here outside the tested range."""
    oldest, newest = pins("oldest"), pins("newest")
    found = {name: _installed(name) for name in names if name in oldest and name in newest}
    return [
        f"{name} {here} is not tested: the tests ran with {oldest[name]} to {newest[name]}."
        for name, here in found.items()
        if here is not None and not _within(here, oldest[name], newest[name])
    ]


def _within(here: str, oldest: str, newest: str) -> bool:
    """A later bug-fix release of the newest one is taken for it."""
    return Version(oldest) <= Version(here) and Version(here).release[:2] <= Version(newest).release[:2]


def _installed(name: str) -> str | None:
    if name == "python":
        return platform.python_version()
    try:
        return version(name)
    except PackageNotFoundError:
        return None
