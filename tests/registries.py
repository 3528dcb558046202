"""What is registered, put back as it was: for tests that add to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from toca.registry import registered

KINDS = ("method", "fill", "gate", "selection", "family")


@contextlib.contextmanager
def as_it_was() -> Iterator[None]:
    """Forget at the end what has been registered in between."""
    tables = {kind: dict(registered(kind)) for kind in KINDS}
    try:
        yield
    finally:
        for kind, table in tables.items():
            registered(kind).clear()
            registered(kind).update(table)
