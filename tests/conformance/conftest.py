"""What `make test` runs of a table of two or more sides: a choice that covers. `make test-matrix` runs all the others.

Of a table of all methods it runs every third cell of those that are written out in `common`, in each table others:
every family meets a third of these methods, every method a third of the families, and over all tables each pair
several times. Of those that are there because the registry has them it runs two cells a family, with the methods that
this family has met least so far: a method more costs no time. Of any other table it runs every second cell, as the
black squares of a chessboard.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from zlib import crc32

import pytest

from .common import REGISTERED, runs_on

LARGE = 8
"""Cells from which on a table is thinned."""
MANY = 8
"""Methods from which on a table is one of all of them."""
EACH = 2
"""Methods of the registry that a family meets in a table."""

Cells = list[pytest.Function]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    tables: dict[str, Cells] = {}
    for item in items:
        if here in item.path.parents and isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            tables.setdefault(item.nodeid.partition("[")[0], []).append(item)
    met: Counter[tuple[str, str]] = Counter()
    for table, cells in tables.items():
        if len(cells) >= LARGE:
            kept = _covering(table, cells, met)
            for cell in cells:
                if cell not in kept:
                    cell.add_marker(pytest.mark.matrix)


def _covering(table: str, cells: Cells, met: Counter[tuple[str, str]]) -> set[pytest.Function]:
    """The cells of a table to run; `met` counts how often a family has met a method of the registry."""
    others = [cell for cell in cells if _method(cell) not in REGISTERED]
    share, turn = (3, crc32(table.encode())) if len({_method(cell) for cell in others}) >= MANY else (2, 0)
    kept = {cell for cell in others if (sum(cell.callspec.indices.values()) + turn) % share == 0}
    for family in dict.fromkeys(_family(cell) for cell in cells):
        known = [cell for cell in cells if _method(cell) in REGISTERED and _family(cell) == family]
        names = [name for name in dict.fromkeys(map(_method, known)) if not family or _works(family, name)]
        turns = {name: (met[name, family], crc32(f"{table}-{family}-{name}".encode())) for name in names}
        for name in sorted(names, key=turns.__getitem__)[:EACH]:
            met[name, family] += 1
            each = [cell for cell in known if _method(cell) == name]
            kept.add(each[crc32(table.encode()) % len(each)])
    return kept


def _method(cell: pytest.Function) -> str:
    return str(cell.callspec.params.get("name", ""))


def _family(cell: pytest.Function) -> str:
    return str(cell.callspec.params.get("family", ""))


@cache
def _works(family: str, name: str) -> bool:
    return runs_on(family, name)
