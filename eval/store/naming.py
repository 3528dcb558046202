"""Names of variants and pipelines: they stand in tables, on the console, and in the names of files."""

from __future__ import annotations

import os
import re

from toca.checks import shown

LONGEST_NAME = 160
"""Bytes of a name in a file's. That has 255, of which a stage needs some for a metric and a hash, and a damaged file
for the moment it was set aside."""

_UNCACHED = re.compile(r"full|fewer steps|\d+ steps?")


def slug(name: str) -> str:
    """A name as a part of a file's name."""
    return re.sub(r"[^\w.=,-]+", "_", name)


def check_name(what: str, name: str, how: str) -> None:
    """See that a name can be shown on one line and be part of a file's name.

    Args:
        what (`str`): What it is the name of, for the message.
        name (`str`): It.
        how (`str`): What to do about another, for the message.

    Raises:
        ValueError: If it cannot; it shows the name.
    """
    check_shown(what, name, how)
    size = len(os.fsencode(slug(name)))
    if size > LONGEST_NAME:
        raise ValueError(
            f"{what} {shown(name)} has a name of {size} bytes, and files can be named by {LONGEST_NAME}: {how}."
        )


def check_shown(what: str, name: str, how: str) -> None:
    """The same of a name that is cut where it is part of a file's. Raises as `check_name`."""
    if not name.strip():
        raise ValueError(f"{what} has an empty name: {how}.")
    if not name.isprintable():
        raise ValueError(f"{what} {shown(name)} has characters in its name that cannot be shown: {how}.")


def file_part(name: str) -> str:
    """As much of a name as fits into a file's, beside the hash that tells it from others."""
    return os.fsdecode(os.fsencode(slug(name))[:LONGEST_NAME]).encode("utf-8", "ignore").decode()


def names_uncached(name: str) -> bool:
    """Whether a reader would take a name for that of a run without a cache, which come by themselves."""
    return _UNCACHED.fullmatch(" ".join(name.casefold().split())) is not None
