"""The page on the families names all of them; its figures are of the last time that it was written."""

from __future__ import annotations

import pytest

from toca.models import FAMILIES

from .page import Result, overview_row, page, read, section
from .promises import PROMISES
from .subject import family_of_entry
from .table import PAGE, classes
from .tiny import ZOO, exists

TEXT = PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", classes())
def test_the_page_names_every_class(name: str) -> None:
    spec, (sections, rows) = family_of_entry(ZOO[name]), read(TEXT)
    assert name in rows and name in sections, f"`python -m tests.zoo.table {name}` adds it to docs/families.md"
    assert spec is not None and f"| {spec.name} |" in rows[name] and f"`{spec.name}`" in sections[name]
    for stack in spec.stacks:
        assert f"| {stack.stack} |" in sections[name]


def test_the_page_names_no_class_without_a_family() -> None:
    # An older diffusers lacks some classes that the page has.
    assert {name for name in read(TEXT)[0] if exists(name)} == set(classes())


def test_every_family_of_the_library_is_in_the_zoo() -> None:
    ours = {spec.transformer for spec in FAMILIES.values() if spec.call_shape.__module__.startswith("toca.")}
    assert {name for name in ours if exists(name)} <= set(ZOO)


def test_a_page_is_read_as_it_was_written() -> None:
    name = "DiTTransformer2DModel"
    spec = family_of_entry(ZOO[name])
    assert spec is not None
    results = [
        Result(name, "fora"),
        Result(name, "toca", broken={"FLOPs": "predicted 1, and 2 are counted"}),
        Result(name, "ras", refusal="ras does not run on dit models."),
        Result(f"{name}/other", "fora", broken={"bytes": "predicted bytes are 1, and 2 are held"}),
    ]
    sections = {name: section(spec, results, tuple(PROMISES), ["DiTPipeline"])}
    rows = {name: overview_row(name, spec, results)}
    assert read(page(sections, rows, dict.fromkeys(PROMISES, "holds"), ["fora"], ZOO, {"UNet": "is a U-Net"})) == (
        sections,
        rows,
    )
    assert "1 of 2; not `toca`, `fora` (other)" in rows[name] and "`ras`" in rows[name]
    for told in ("`DiTPipeline`", "`ras`: refused: ras does", "`toca`: FLOPs: predicted 1", "**no**", "as: other."):
        assert told in sections[name]
