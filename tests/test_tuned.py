"""The method that takes its plan from a front."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

import toca
from toca.plan.front import Front

from .conformance.common import PipelineLike, at
from .fronts import STEPS, front_of
from .helpers import inputs_for, run_steps, tiny_dit, tiny_pixart


@pytest.fixture
def front() -> Front:
    return front_of("pixart", DPMSolverMultistepScheduler())


@pytest.fixture
def path(front: Front, tmp_path: Path) -> str:
    front.save(tmp_path / "front.json")
    return str(tmp_path / "front.json")


def test_its_plan_is_the_fronts_for_the_budget_and_the_steps(front: Front, path: str) -> None:
    for speedup, steps in ((1.5, STEPS), (2.0, STEPS), (3.0, STEPS), (2.0, STEPS - 2)):
        plan = toca.Tuned(path, speedup=speedup).plan(tiny_pixart(), steps)
        wanted = front.plan(speedup=speedup, num_inference_steps=steps)
        assert plan == replace(wanted, method="tuned") and plan.origin == wanted.origin
    best = toca.Tuned(path, speedup=None, min_psnr=50)
    assert best.plan(tiny_pixart(), STEPS).steps == front.plan(min_psnr=50).steps
    assert toca.Tuned(path).num_inference_steps == STEPS


def test_its_parts_say_what_its_plan_says(path: str) -> None:
    """As `when` of another method."""
    composed = toca.CacheMethod(when=toca.Tuned(path, speedup=3))
    assert composed.plan(tiny_pixart(), STEPS).steps == toca.Tuned(path, speedup=3).plan(tiny_pixart(), STEPS).steps


def test_it_runs_as_its_plan_does(front: Front, path: str) -> None:
    transformer, inputs = tiny_pixart(), inputs_for("pixart", STEPS)
    with toca.cached(transformer, front.plan(speedup=2)):
        wanted = run_steps(transformer, inputs)
    with toca.cached(transformer, toca.Tuned(path), num_inference_steps=STEPS):
        got = run_steps(transformer, inputs)
        summary = toca.summary(transformer)
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    assert summary.method == "tuned" and "55.0 dB [54.0, 56.0] on 8 others at 2.10x" in summary.made


def test_a_model_in_another_precision_is_the_same_model(path: str) -> None:
    plan = toca.Tuned(path).plan(tiny_pixart().to(torch.bfloat16), STEPS)
    assert plan.layout.itemsize == 2 and plan.origin.held_out is not None


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"speedup": 0.5}, "`speedup` must be at least 1"),
        ({"speedup": None}, "`speedup` must be a number where `min_psnr` is none"),
        ({"front": "nowhere.json"}, "'?nowhere.json'? cannot be read .*`toca tune` makes one"),
        ({"front": 3}, "`front` must be text or None"),
    ],
    ids=str,
)
def test_faults_are_named(path: str, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        toca.Tuned(**{"front": path} | fields)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"speedup": 9}, "No plan .*is 9 times as fast: the fastest reaches 3.40x"),
        ({"min_psnr": 59, "speedup": 2}, "that meets the other bounds is 2 times as fast: the fastest reaches 1.60x"),
    ],
    ids=str,
)
def test_a_budget_that_no_plan_meets_is_refused(path: str, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        toca.Tuned(path, **fields).plan(tiny_pixart(), STEPS)
    with pytest.raises(ValueError, match=reason):
        toca.enable_cache(PipelineLike(DPMSolverMultistepScheduler(), tiny_pixart()), toca.Tuned(path, **fields))


def test_where_plans_of_other_steps_meet_the_budget_these_are_named(path: str) -> None:
    with pytest.raises(ValueError, match="the fastest reaches 2.05x .* Sampled in 6 steps one does"):
        toca.Tuned(path, speedup=3).plan(tiny_pixart(), STEPS - 2)


def test_a_file_that_has_changed_is_read_again(front: Front, path: str) -> None:
    before = toca.Tuned(path, speedup=3)
    replace(front, entries=front.entries[:2]).save(path)
    assert before.found == front and len(toca.Tuned(path, speedup=3).found.entries) == 2
    Path(path).write_text("{}")
    with pytest.raises(ValueError, match="is not a valid front"):
        toca.Tuned(path)


def test_without_a_front_there_is_no_plan() -> None:
    with pytest.raises(ValueError, match="tuned needs a front of the model: make one with `toca tune`"):
        toca.Tuned().plan(tiny_pixart(), STEPS)
    assert toca.Tuned().needs_file and toca.Tuned().num_inference_steps is None


@pytest.mark.parametrize(
    ("transformer", "steps", "reason"),
    [
        (tiny_dit, STEPS, "was made for a pixart model of 3 layers .*, and this is a dit model .*: run `toca tune`"),
        (tiny_pixart, 9, r"has plans of 6 or 4 steps, and not of 9: sample in so many, or run `toca tune` with 9"),
    ],
)
def test_another_model_and_other_steps_are_refused(path: str, transformer: Any, steps: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        toca.Tuned(path).plan(transformer(), steps)
    with pytest.raises(ValueError, match="was made for other timesteps: step 0 was at 999, and here it is at 7"):
        toca.Tuned(path).plan(tiny_pixart(), STEPS, (7.0,) * STEPS)


def test_another_scheduler_is_refused_at_once_and_later(path: str) -> None:
    with pytest.raises(ValueError, match=r"front.json' was made with DPMSolverMultistepScheduler, and this pipeline"):
        toca.enable_cache(PipelineLike(DDIMScheduler(), tiny_pixart()), toca.Tuned(path))
    pipe = PipelineLike(DPMSolverMultistepScheduler(), tiny_pixart())
    call = inputs_for("pixart", 1)[0]
    with toca.cached(pipe, toca.Tuned(path)), torch.no_grad():
        for _, timestep in pipe.steps(STEPS):
            pipe.transformers[0](**at(call, timestep))
        assert toca.summary(pipe).full_steps == 3
        pipe.scheduler = DPMSolverMultistepScheduler(solver_order=3)
        with pytest.raises(ValueError, match="`solver_order` 2, and here it is 3"):
            for _, timestep in pipe.steps(STEPS):
                pipe.transformers[0](**at(call, timestep))


def test_a_front_beside_the_weights_is_found(path: str, tmp_path: Path) -> None:
    folder = tmp_path / "model" / "calibration"
    folder.mkdir(parents=True)
    assert toca.Tuned().beside(folder.parent) == toca.Tuned()
    beside = folder / "tuned.json"
    beside.write_bytes(Path(path).read_bytes())
    assert toca.Tuned(speedup=3).beside(folder.parent) == toca.Tuned(str(beside), speedup=3)
    assert toca.Tuned(path).beside(folder.parent).front == path


@pytest.mark.parametrize("name", [name for name in toca.presets() if name.startswith("tuned/")])
def test_as_fast_as_the_full_run_is_the_full_run(name: str) -> None:
    method = toca.preset(name)
    assert isinstance(method, toca.Tuned) and set(method.found.plan(speedup=1).steps) == {"F"}
