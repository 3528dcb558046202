"""Of a table of two or more sides `make test` runs every second cell, as the black squares of a chessboard: every
family meets half of the methods, and every method half of the families. Of the methods that are there because the
registry has them it runs every eighth cell with each family. `make test-matrix` runs all the others."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from zlib import crc32

import pytest

from .common import REGISTERED

LARGE = 8
"""Cells from which on a table is thinned."""
EIGHTH = 8


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    tables: dict[str, list[pytest.Function]] = {}
    for item in items:
        if here in item.path.parents and isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            tables.setdefault(item.nodeid.partition("[")[0], []).append(item)
    seen: Counter[str] = Counter()
    for cells in tables.values():
        if len(cells) >= LARGE:
            for cell in cells:
                if _is_left_out(cell, seen):
                    cell.add_marker(pytest.mark.matrix)


def _is_left_out(cell: pytest.Function, seen: Counter[str]) -> bool:
    """Whether a cell is for the full tables alone; `seen` counts those of each method and family."""
    sides = cell.callspec.params
    if sides.get("name") not in REGISTERED:
        return bool(sum(cell.callspec.indices.values()) % 2)
    both = f"{sides['name']} {sides.get('family')}"
    seen[both] += 1
    # Each begins at a place of its own, so that every table has some.
    return bool((seen[both] + crc32(both.encode())) % EIGHTH)
