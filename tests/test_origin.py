"""What a plan was made from: said, kept in files, without figures after an edit, and nothing else is let run it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

import toca
from toca.plan import Plan
from toca.plan.digest import digest_of
from toca.plan.origin import IDENTICAL, HeldOut, Origin

from .conformance.common import PipelineLike, at
from .fronts import HELD_OUT, STEPS, origin_of, tuned_plan
from .helpers import inputs_for, tiny_dit, tiny_pixart


@pytest.fixture
def scheduler() -> Any:
    return DPMSolverMultistepScheduler()


@pytest.fixture
def plan(scheduler: Any) -> Plan:
    return tuned_plan("pixart", scheduler)


def run(pipe: PipelineLike, steps: int = STEPS) -> None:
    call = inputs_for("pixart", 1)[0]
    with torch.no_grad():
        for _, timestep in pipe.steps(steps):
            pipe.transformers[0](**at(call, timestep))


def test_one_is_no_plural(scheduler: Any) -> None:
    assert "made from 1 prompt for" in str(origin_of(scheduler, prompts=1))
    assert str(replace(HELD_OUT, prompts=1)).endswith("on 1 other at 2.03x")


def test_it_stands_in_text_in_a_drawing_and_in_the_summary(plan: Plan, scheduler: Any, tmp_path: Path) -> None:
    said = "made from 12 prompts for DPMSolverMultistepScheduler: 52.1 dB [51.0, 53.2] on 8 others at 2.03x"
    assert str(plan) == f"fora on pixart, {STEPS} steps: FFrFrF ({said})"
    plan.draw(tmp_path / "plan.svg")
    # Text is drawn as outlines, which a comment names.
    assert "2.03x" in (tmp_path / "plan.svg").read_text()
    pipe = PipelineLike(scheduler, tiny_pixart())
    with toca.cached(pipe, plan):
        run(pipe)
        assert f"  plan    {said}" in str(toca.summary(pipe)).splitlines()
    with toca.cached(pipe, replace(plan, origin=None)):
        run(pipe)
        assert "made from" not in str(toca.summary(pipe))


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_files_keep_it(plan: Plan, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plan.{suffix}"
    plan.save(path)
    assert Plan.load(path) == plan and Plan.load(path).origin.held_out == HELD_OUT


def test_an_edit_loses_the_figures_and_nothing_else(plan: Plan, tmp_path: Path) -> None:
    edited = replace(plan, table=(*plan.table[:2], plan.full_row, *plan.table[3:]))
    assert edited.origin.held_out is None and edited.origin.scheduler == plan.origin.scheduler
    assert str(edited).endswith("edited since, so without figures)")
    # A name, the model's default size and the same table again are no edits.
    for same in (replace(plan, method="mine"), replace(plan, table=tuple(plan.table)), replace(edited, method="x")):
        assert same.origin.held_out == (plan if same.table == plan.table else edited).origin.held_out
    # Back by hand it is another edit: what it was before is not known any more.
    assert replace(edited, table=plan.table).origin.held_out is None
    path = tmp_path / "plan.json"
    plan.save(path)
    data = json.loads(path.read_text())
    data["steps"][2]["ff"] = "compute"
    path.write_text(json.dumps(data))
    assert Plan.load(path).origin.held_out is None


@pytest.mark.parametrize(
    "change",
    [
        {"guided": (True, False) * 3},
        {"fill": toca.methods()["taylorseer"]().filling()},
        {"gate": toca.TeaCache(threshold=0.3).gate()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_value_on_an_axis_counts_as_an_edit(plan: Plan, change: dict[str, Any]) -> None:
    assert digest_of(replace(plan, **change)) != digest_of(plan)
    assert replace(plan, **change).origin.held_out is None


def test_another_scheduler_is_refused(plan: Plan) -> None:
    for other, reason in (
        (DDIMScheduler(), "made with DPMSolverMultistepScheduler, and this pipeline samples with DDIMScheduler"),
        (DPMSolverMultistepScheduler(solver_order=3), "`solver_order` 2, and here it is 3"),
    ):
        with pytest.raises(ValueError, match=reason):
            toca.enable_cache(PipelineLike(other, tiny_pixart()), plan)


def test_another_scheduler_that_comes_later_is_refused(plan: Plan, scheduler: Any) -> None:
    pipe = PipelineLike(scheduler, tiny_pixart())
    with toca.cached(pipe, plan):
        pipe.scheduler = DDIMScheduler()
        with pytest.raises(ValueError, match="samples with DDIMScheduler"):
            run(pipe)


def test_other_steps_and_timesteps_are_refused(plan: Plan, scheduler: Any) -> None:
    pipe = PipelineLike(scheduler, tiny_pixart())
    with toca.cached(pipe, plan), pytest.raises(ValueError, match=f"for {STEPS} steps, but this generation has 5"):
        run(pipe, 5)
    other = replace(plan, origin=replace(plan.origin, timesteps=tuple(t + 7 for t in plan.origin.timesteps)))
    with toca.cached(pipe, other), pytest.raises(ValueError, match="made for other timesteps: step 0 was at 1006"):
        run(pipe)


def test_another_model_is_refused(plan: Plan, scheduler: Any) -> None:
    """A model whose sites are the same, but which takes captions of another width, is another one."""
    with pytest.raises(ValueError, match=r"The plan was made for another model: its `around` was"):
        toca.enable_cache(PipelineLike(scheduler, tiny_pixart(caption_channels=8)), plan)
    with pytest.raises(ValueError, match="The plan is for a pixart model with 9 sites"):
        toca.enable_cache(PipelineLike(scheduler, tiny_dit()), plan)
    toca.enable_cache(PipelineLike(scheduler, tiny_pixart(caption_channels=8)), replace(plan, origin=None))


def test_pictures_that_are_the_same_have_a_figure_too(scheduler: Any) -> None:
    same = HeldOut(3, float("inf"), float("inf"), float("inf"), 1.0)
    assert same.psnr == IDENTICAL and str(same) == "identical on 3 others at 1.00x"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("prompts", -1, "`prompts` must be non-negative"),
        ("seeds", ("a",), r"`seeds`\[0\]"),
        ("timesteps", (1.0, float("nan")), r"`timesteps`\[1\]"),
        ("prompts_sha256", "a" * 100, "at most 80 characters"),
        ("held_out", 3, "`held_out`"),
        ("reference_steps", 0, "`reference_steps`"),
    ],
)
def test_faults_are_named(scheduler: Any, field: str, value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        origin_of(scheduler, **{field: value})


def test_its_timesteps_are_those_of_the_plan(plan: Plan) -> None:
    origin: Origin = plan.origin
    with pytest.raises(ValueError, match=f"`timesteps` has 1 steps, expected {STEPS}"):
        replace(plan, origin=replace(origin, timesteps=(1.0,)))
