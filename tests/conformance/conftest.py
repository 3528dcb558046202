"""Of a table of two or more sides `make test` runs every second cell, as the black squares of a chessboard: every
family meets half of the methods, and every method half of the families. Of the methods that are there because the
registry has them it runs every eighth, others in each table. `make test-matrix` runs all the others."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import pytest

from .common import REGISTERED

LARGE = 8
"""Cells from which on a table is thinned."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    tables: dict[str, list[pytest.Function]] = {}
    for item in items:
        if here in item.path.parents and isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            tables.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for table, cells in tables.items():
        if len(cells) >= LARGE:
            first = crc32(table.encode())
            for cell in cells:
                place = sum(cell.callspec.indices.values())
                thin = (place + first) % 8 if cell.callspec.params.get("name") in REGISTERED else place % 2
                if thin:
                    cell.add_marker(pytest.mark.matrix)
