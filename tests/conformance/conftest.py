"""Of a table of two or more sides `make test` runs every second cell, as the black squares of a chessboard: every
family meets half of the methods, and every method half of the families. Of the methods that are there because the
registry has them it runs every eighth of those with one family, others for each. `make test-matrix` runs all the
others."""

from __future__ import annotations

from collections import Counter
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
    turns: Counter[tuple[str, str]] = Counter()
    for item in items:
        if here in item.path.parents and isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            tables.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for table, cells in tables.items():
        if len(cells) >= LARGE:
            for cell in cells:
                place, params = sum(cell.callspec.indices.values()), cell.callspec.params
                thin = place % 2
                if params.get("name") in REGISTERED:
                    pair = params["name"], str(params.get("family", table))
                    thin = (turns[pair] + crc32("-".join(pair).encode())) % 8
                    turns[pair] += 1
                if thin:
                    cell.add_marker(pytest.mark.matrix)
