"""docs/memory.md says what its script reckons."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from .floors import ROOT


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_memory", ROOT / "docs" / "draw_memory.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "memory.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["flux-dev", "hunyuanvideo"])
def test_the_page_is_what_the_script_makes(script: ModuleType, page: str, name: str) -> None:
    """The methods all, and the figures of some: one that keeps modules' outputs, and one that keeps the stack's."""
    rows = script.between(name, page).splitlines()[4:]
    again = "run `python docs/draw_memory.py`"
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == list(script.METHODS[name]), again
    for label in ("ToCa, `toca/flux`", "FORA x stack", "Spectrum"):
        assert script.row(name, label) in rows, again


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["flux-dev", "hunyuanvideo"])
def test_the_whole_table_is_what_the_script_makes(script: ModuleType, page: str, name: str) -> None:
    assert script.between(name, page) == script.table(name)


def test_flux_keeps_less_than_the_authors_code(script: ModuleType) -> None:
    """7.0 GiB there, for ToCa at 1024 x 1024 and 50 steps."""
    toca, _, narrow = script.kept("flux-dev", "toca/flux")
    stack, *_ = script.kept("flux-dev", script.STACK)
    assert toca <= 3.5 * 2**30 and narrow <= 0.51 * toca and stack <= 0.5 * 2**30
