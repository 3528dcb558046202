"""The table of methods is the registry's: a method that becomes known is tested, and nothing here names it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import toca

from ..helpers import FAMILIES
from .common import GENERIC, METHODS, REGISTERED, SMALL, runs_on

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cells() -> Counter[tuple[str, str]]:
    """How many cells of a method and a family `make test` runs."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", "tests/conformance"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    names = [line.partition("[")[2].rstrip("]") for line in done.stdout.splitlines() if line.endswith("]")]
    sides = [tuple(side for side in (*METHODS, *FAMILIES) if f"-{side}-" in f"-{name}-") for name in names]
    # Of names that hold one another ("forecast-blocks") the longest is meant.
    return Counter((max(side[:-1], key=len), side[-1]) for side in sides if len(side) > 1 and side[-1] in FAMILIES)


def test_every_method_meets_some_family_and_the_generic_ones_meet_all(cells: Counter[tuple[str, str]]) -> None:
    for name in METHODS:
        theirs = [family for family in FAMILIES if name not in REGISTERED or runs_on(family, name)]
        met = [family for family in theirs if cells[name, family]]
        wanted = min(2, len(theirs)) if name in REGISTERED else len(theirs)
        assert len(met) >= wanted, f"{name} is in cells of {met}, and could be in those of {theirs}"


def test_every_method_of_the_registry_is_in_the_table() -> None:
    tested = {type(method) for method in GENERIC.values()} | {toca.methods()[name] for name in REGISTERED}
    assert tested == set(toca.methods().values())
    assert set(SMALL) <= set(toca.methods())
