"""Releases: our own, which stands here and nowhere else, and those of what we stand on."""

from __future__ import annotations

from importlib import metadata

VERSION = "0.1.0"
NAME = "toca"
"""What we are imported as. A package index knows us by another name, for it has had a `toca` for long."""


def version(package: str) -> str:
    """The release of a package that is installed, or our own.

    Args:
        package (`str`): Its name in a package index, or `"toca"`.

    Raises:
        PackageNotFoundError: If it is not installed.
    """
    return VERSION if package == NAME else metadata.version(package)
