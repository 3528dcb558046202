"""The plan: a table that can be read and drawn, and that says what is kept and measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import pytest
from PIL import Image

import toca
from toca.axes.actions import Action, partial
from toca.axes.selections.ranked import ByAttention

from .helpers import TINY
from .plans import STEPS, every_family, plan_of


@every_family
def test_lookup(family: str) -> None:
    plan = plan_of(family, "toca")
    for step in range(STEPS):
        for i, site in enumerate(plan.layout.sites):
            assert plan[step, site.layer, site.module] is plan.table[step][i]
    for key in [(-1, 0, "self_attn"), (STEPS, 0, "self_attn"), (0, 99, "self_attn"), (0, 0, "nose")]:
        with pytest.raises(KeyError, match=str(key[0])):
            plan[key]


@every_family
def test_draw(tmp_path: Path, family: str) -> None:
    path = tmp_path / "plan.png"
    plan_of(family, "toca").draw(path)
    with Image.open(path) as image:
        assert image.format == "PNG" and min(image.size) > 200
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 20


def test_a_drawing_says_of_what_it_is_and_what_that_costs(tmp_path: Path) -> None:
    plan = plan_of("dit", "toca")
    for title, said in ((None, "toca on dit"), ("toca/dit-ddim50 on mine", "toca/dit-ddim50 on mine")):
        plan.draw(tmp_path / "plan.svg", title)
        text = (tmp_path / "plan.svg").read_text()
        # Text is drawn as outlines, which a comment names.
        assert f"<!-- {said} -->" in text and f"{plan.cost().speedup_text} fewer FLOPs" in text
        assert "<!-- 20% -->" in text and "tokens computed" in text


def test_a_drawing_is_dark_where_the_style_is(tmp_path: Path) -> None:
    for style, least, most in (("default", 200, 255), ("dark_background", 0, 120)):
        with matplotlib.style.context(style):
            plan_of("dit", "fora").draw(tmp_path / "plan.png")
        with Image.open(tmp_path / "plan.png") as image:
            assert least <= np.asarray(image.convert("L"))[:2].mean() <= most


def test_draw_long_and_short(tmp_path: Path) -> None:
    for steps in (1, 250):
        plan_of("dit", "toca", steps).draw(tmp_path / f"{steps}.png")
        with Image.open(tmp_path / f"{steps}.png") as image:
            assert max(image.size) < 4000


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: {"num_inference_steps": 0, "table": ()}, "at least 1.*0"),
        (lambda p: {"num_inference_steps": STEPS + 1}, "8 steps, expected 9"),
        (lambda p: {"table": p.table[:-1] + (p.table[-1][:-1],)}, "Step 7 has"),
        (lambda p: {"table": (p.table[1],) + p.table[1:]}, "first step"),
        (lambda p: {"table": p.table[:1] + ((partial(0.5),) * len(p.table[0]),) * 7}, "Self-attention"),
        (lambda p: {"selection": None}, "selection"),
    ],
)
def test_invalid_tables(change: Any, reason: str) -> None:
    plan = plan_of("pixart", "toca")
    with pytest.raises(ValueError, match=reason):
        dataclasses.replace(plan, **change(plan))


def test_what_is_measured_when() -> None:
    """Attention is measured on the full steps whose statistic a later partial step reads, and on no other."""
    plan = toca.ToCa(interval=3, score="self_attention", warmup_steps=2).plan(TINY["dit"](), 8)
    assert plan.steps == "FFtFttFt"
    assert [bool(measured) for measured in plan.measured] == [False, True, False, True, False, False, True, False]
    last = toca.ToCa(interval=3, score="self_attention").plan(TINY["dit"](), 7)
    assert last.steps[-1] == "F" and not last.measured[-1]
    assert not any(toca.FORA().plan(TINY["dit"](), 8).measured)


def test_what_is_kept() -> None:
    """Only what some step looks back at."""
    plan = toca.ToCa(interval=4, module_factor={"self_attn": 1.0, "ff": 0.5}, fresh_ratio=1.0).plan(TINY["dit"](), 8)
    assert plan.kept == (False, True) * 3
    assert not any(toca.NoCache().plan(TINY["dit"](), 8).kept)
    # The attention inside a FLUX single block is not looked at where the whole block is reused.
    flux = toca.FORA().plan(TINY["flux"](), 8)
    inside = [kept for kept, site in zip(flux.kept, flux.layout.sites, strict=True) if site.inside]
    assert inside and not any(inside)


def test_plan_is_a_value() -> None:
    plan = plan_of("dit", "random")
    assert plan == plan_of("dit", "random") and plan != plan_of("dit", "fora")
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.method = "other"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Action("reuse", 0.0).kind = "compute"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        ByAttention().interval = 1  # type: ignore[misc]
