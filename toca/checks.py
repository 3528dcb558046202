"""Validation of values that users give, and how a message shows them."""

from __future__ import annotations

import reprlib
from typing import Any

LONGEST_SHOWN = 60
"""Characters of a value in a message: enough to know it by, and a message stays a sentence."""


def check(condition: bool, name: str, value: Any, requirement: str) -> None:
    """Raise a `ValueError` that names the value unless `condition` holds."""
    if not condition:
        raise ValueError(f"`{name}` {requirement}, got {shown(value)}.")


def shown(value: Any) -> str:
    """A value in a message: its `repr`, cut to `LONGEST_SHOWN` characters, on one line, control characters escaped.

    It neither raises nor takes long, whatever the value is: 10**6 digits, lists in lists in lists, a tensor.
    """
    return cleaned(_SHORT.repr(value), LONGEST_SHOWN)


def cleaned(text: str, longest: int = 300) -> str:
    """Text of a stranger's (a path, a label, what a parser says) in a message: on one line, cut to `longest`
    characters, with control characters, and others that nobody sees, escaped."""
    # Cut first: what is dropped need not be looked at. A character is escaped by at most ten.
    line = " ".join(text[: 2 * longest].split())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)
    return line if len(line) <= longest and len(text) <= 2 * longest else line[: longest - 3] + "..."


class _Short(reprlib.Repr):
    """`repr` that stops early."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxstring = self.maxlong = self.maxother = LONGEST_SHOWN
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = 8

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write out integers of many digits, and before 3.11 takes its time.
        return f"an integer of {x.bit_length()} bits" if x.bit_length() > 4096 else super().repr_int(x, level)


_SHORT = _Short()
