"""Methods ask for what a model can do, and not for its name: a family that has it runs, whoever's it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

import toca
from toca.models import CAPABILITIES, FAMILIES, capabilities_of
from toca.models.capabilities import ATTEND, DROP, MEASURE
from toca.pipelines.cli import app
from toca.plan import Plan

from .helpers import TINY
from .registries import as_it_was

STEPS = 6


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    with as_it_was():
        yield


class Lacking:
    """An attention dialect that can neither be measured nor run for some of the tokens."""

    measures = drops = False

    def __init__(self, dialect: Any):
        self.dialect = dialect

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dialect, name)


def lacking(family: str, **changes: Any) -> None:
    """Register a family anew without something."""
    FAMILIES[family] = replace(FAMILIES[family], **changes)


@pytest.mark.parametrize("family", TINY)
def test_a_layout_says_what_its_family_has(family: str) -> None:
    layout = toca.FORA().plan(TINY[family](), STEPS).layout
    assert layout.capabilities == capabilities_of(FAMILIES[family])
    assert set(layout.capabilities) <= set(CAPABILITIES)


def test_the_families_of_today() -> None:
    assert capabilities_of(FAMILIES["latte"]) == (MEASURE, ATTEND)
    assert all(capabilities_of(FAMILIES[name]) == (DROP, MEASURE, ATTEND) for name in ("dit", "pixart", "flux"))


@pytest.mark.parametrize(
    ("method", "asks"),
    [
        (toca.RAS(), (DROP,)),
        (toca.Coast(), (DROP,)),
        (toca.Coast(fresh_ratio=0), ()),
        (toca.ToCa(), (MEASURE,)),
        (toca.DuCa(), (MEASURE,)),
        (toca.DuCa(score="random"), ()),
        (toca.RandomTokens(), ()),
        (toca.RandomTokens(self_attention="chosen"), (ATTEND,)),
        (toca.ToCa(self_attention="chosen"), (MEASURE, ATTEND)),
        (toca.FORA(), ()),
        (toca.CacheMethod(when="fora", which="ras"), (DROP,)),
        (toca.CacheMethod(when=toca.RAS(), which="random"), ()),
        (toca.CacheMethod(when="easycache", which="toca/pixart", fill="taylorseer"), (MEASURE,)),
    ],
    ids=str,
)
def test_a_method_asks_what_its_axes_ask(method: toca.Method, asks: tuple[str, ...]) -> None:
    assert method.asks == asks


def test_a_model_without_places_in_its_output_is_refused_by_name() -> None:
    lacking("pixart", prediction=None)
    with pytest.raises(ValueError) as refused:
        toca.enable_cache(TINY["pixart"](), "ras", num_inference_steps=STEPS)
    said = str(refused.value)
    assert "ras asks for a model of which tokens can be dropped before the first block" in said
    assert "pixart models (PixArtTransformer2DModel): nobody has said where each token is in its output" in said
    assert "Use a method that computes some tokens of each module (toca, random)" in said


@pytest.mark.parametrize(("name", "word"), [("toca", "attention can be measured"), ("ras", "tokens can be dropped")])
def test_attention_that_nobody_knows_is_neither_measured_nor_cut(name: str, word: str) -> None:
    lacking("dit", attention=Lacking(FAMILIES["dit"].attention))
    with pytest.raises(ValueError, match=rf"{name} asks for a model of which {word}.*dit models.*Use a method that"):
        toca.methods()[name]().plan(TINY["dit"](), STEPS)
    assert toca.RandomTokens().plan(TINY["dit"](), STEPS).steps.count("t")
    assert toca.DuCa(score="random").plan(TINY["dit"](), STEPS).steps.count("t")


def test_the_clock_of_a_method_asks_for_less_than_the_method() -> None:
    plan = toca.CacheMethod(when=toca.RAS(warmup_steps=2, dense_steps=(4,)), which="random").plan(
        TINY["latte"](), STEPS
    )
    assert plan.steps == "FFttFt"


def test_what_a_third_party_asks_for_is_asked_for() -> None:
    @toca.register
    @dataclass(frozen=True)
    class OnlyFrames(toca.Fill):
        name: ClassVar[str] = "only-frames"
        asks: ClassVar[tuple[str, ...]] = (DROP,)

        @property
        def kept(self) -> int:
            return 0

        def weights(self, step: int, history: Any, timeline: Any) -> list[float]:
            return [1.0]

    @toca.register
    @dataclass(frozen=True)
    class Framed(toca.FORA):
        name: ClassVar[str] = "framed"

        def filling(self) -> toca.Fill:
            return OnlyFrames()

    with pytest.raises(ValueError, match="framed asks for .* latte models"):
        Framed().plan(TINY["latte"](), STEPS)
    assert Framed().plan(TINY["dit"](), STEPS).steps.count("y")


def test_a_plan_s_file_keeps_it(tmp_path: Any) -> None:
    toca.RAS(warmup_steps=2).plan(TINY["flux"](), STEPS).save(tmp_path / "plan.yaml")
    assert Plan.load(tmp_path / "plan.yaml").layout.capabilities == (DROP, MEASURE, ATTEND)


def test_the_command_line_says_who_runs() -> None:
    table = CliRunner().invoke(app, ["methods"]).output
    run = sum(toca.RAS().runs_on(spec) for spec in FAMILIES.values())
    assert re.search(rf"^ras .* {run} of {len(FAMILIES)}", table, re.MULTILINE)
    assert re.search(r"^fora .* all", table, re.MULTILINE)
    explained = " ".join(CliRunner().invoke(app, ["methods", "ras"]).output.split())
    assert "latte" in explained and "tokens can be dropped before the first block" in explained
    listed = CliRunner().invoke(app, ["models", "--families"]).output
    assert all(name in listed and spec.transformer in listed for name, spec in FAMILIES.items())
    assert re.search(r"^latte .* ras, coast\s*$", listed, re.MULTILINE)


def test_a_model_may_lack_what_its_family_has() -> None:
    """Qwen-Image-Edit 2511 gives the tokens of the reference a timestep of their own."""
    spec, shape = FAMILIES["qwenimage"], toca.CallShape(1, 24, (4, 6), 5)
    assert capabilities_of(spec) == capabilities_of(spec, shape) == (DROP, MEASURE, ATTEND)
    assert capabilities_of(spec, replace(shape, others=(("times", 2),))) == (MEASURE, ATTEND)
