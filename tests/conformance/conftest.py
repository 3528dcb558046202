"""Of a table of two or more sides `make test` runs every second cell, as the black squares of a chessboard: every
family meets half of the methods, and every method half of the families. `make test-matrix` runs the others."""

from __future__ import annotations

from pathlib import Path

import pytest

LARGE = 8
"""Cells from which on a table is thinned."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    tables: dict[object, list[pytest.Function]] = {}
    for item in items:
        if here in item.path.parents and isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            tables.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for cells in tables.values():
        if len(cells) >= LARGE:
            for cell in cells:
                if sum(cell.callspec.indices.values()) % 2:
                    cell.add_marker(pytest.mark.matrix)
