"""What is asked for and cannot be, told before anything is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Refused(ValueError):
    """Something that was typed, or written in a configuration, has to be changed; the message says what."""

    exit_code = 2
    """Of the command line, as for a flag that does not exist."""


@contextmanager
def refusing() -> Iterator[None]:
    """What is wrong in the block is wrong with what was asked for.

    Raises:
        Refused: For every `ValueError` and `OSError` of the block, in the same words.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        raise Refused(str(error)) from error
