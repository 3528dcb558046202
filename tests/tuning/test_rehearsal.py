"""Rehearsals: a generation gone through again, with its first steps known, is the generation; and nothing is left."""

from __future__ import annotations

import copy

import diffusers
import pytest
import torch

import toca
from tests.helpers import tiny_pixart_pipeline
from toca.axes.fills.fitted import Fitted
from toca.tuning.following import run_of
from toca.tuning.labels import Draft, plan_of, standard_labels, usable
from toca.tuning.notes import Notes
from toca.tuning.refinement import WORST, Trials
from toca.tuning.rehearsal import PastTheCache, Rehearsal
from toca.tuning.scheduler_watch import Ended, watched
from toca.tuning.segments import block_deviations, distance, output_deviations

STEPS = 6


def rehearsal(scheduler=None) -> Rehearsal:
    pipe = tiny_pixart_pipeline()
    if scheduler is not None:
        pipe.scheduler = scheduler
    return Rehearsal(pipe, ["a red owl", "two owls"], [0, 1], {})


def stock_end(subject: Rehearsal) -> torch.Tensor:
    """The final latents of the stock pipeline, uncached."""
    seen = []
    with watched(subject.pipe.scheduler, lambda step: None, lambda number, sample: seen.append(sample.clone())):
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in subject.seeds]
        subject.pipe(subject.prompts, generator=generators, num_inference_steps=STEPS, output_type="np")
    return seen[-1]


SCHEDULERS = {
    "ddim": lambda: diffusers.DDIMScheduler(),
    "dpm": lambda: diffusers.DPMSolverMultistepScheduler(),
    "ancestral": lambda: diffusers.EulerAncestralDiscreteScheduler(),
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_full_run_is_that_of_the_stock_pipeline(scheduler):
    subject = rehearsal(SCHEDULERS[scheduler]())
    full = subject.full(STEPS)
    assert full.steps == STEPS and len(full.latents) == STEPS + 1
    assert torch.equal(full.end, stock_end(subject))


@pytest.mark.parametrize("label", standard_labels(), ids=lambda label: label.name)
def test_what_is_known_of_the_first_steps_changes_nothing(label):
    subject = rehearsal()
    full = subject.full(STEPS)
    fitted = Fitted(((1.5, -0.75, 0.5, -0.25),) * STEPS)
    plan = plan_of(Draft((0, 1, 2, 3, 5), (0,) * 5), [label], subject.layout, full.timesteps, fitted)
    whole, known = subject.end_of(plan, full), subject.end_of(plan, full, until=max(0, 4 - label.looks_back))
    assert torch.equal(whole, known) and not torch.equal(whole, full.end)


def test_known_steps_cost_no_block():
    subject = rehearsal()
    full = subject.full(STEPS)
    calls = []
    block = subject.transformer.transformer_blocks[0]
    handle = block.attn1.to_q.register_forward_hook(lambda *_: calls.append(1))
    plan = plan_of(Draft((0, 1, 2, 3, 5), (0,) * 5), standard_labels()[:1], subject.layout, full.timesteps)
    before = subject.calls
    subject.end_of(plan, full, until=3)
    handle.remove()
    assert len(calls) == 2 and subject.calls - before == 2 * len(subject.prompts)


def test_what_is_judged_and_timed_is_counted_too():
    subject = rehearsal()
    full = subject.full(STEPS)
    plan = plan_of(Draft((0, 2, 4), (0,) * 3), standard_labels()[:1], subject.layout, full.timesteps)
    sizes: list[int] = []
    handle = subject.transformer.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(len(args[0])), with_kwargs=True
    )
    before = subject.calls
    assert len(subject.step_seconds(plan)) == STEPS
    # Guidance makes two of the one sample that is timed.
    assert subject.calls - before == 3 and set(sizes) == {2}
    subject.pictures(plan, STEPS)
    handle.remove()
    assert subject.calls - before == 3 + 3 * len(subject.prompts)


def test_the_full_run_is_timed_without_a_cache():
    subject = rehearsal()
    full = subject.full(STEPS)
    seen: list[bool] = []
    handle = subject.transformer.register_forward_pre_hook(
        lambda module, _: seen.append(toca.api.cache_on(module) is not None)
    )
    assert len(subject.step_seconds(toca.NoCache().plan_layout(subject.layout, STEPS))) == STEPS
    assert seen == [False] * STEPS
    draft = Draft((0, 2, 4), (0,) * 3)
    subject.step_seconds(plan_of(draft, standard_labels()[:1], subject.layout, full.timesteps))
    handle.remove()
    assert seen[STEPS:] and all(seen[STEPS:])


def test_a_rehearsal_leaves_nothing_behind():
    subject = rehearsal()
    stock, attributes = type(subject.pipe.scheduler), set(vars(subject.pipe))
    state = set(vars(subject.transformer))
    subject.full(STEPS)
    assert type(subject.pipe.scheduler) is stock and set(vars(subject.pipe)) == attributes
    assert set(vars(subject.transformer)) == state and toca.api.cache_on(subject.transformer) is None


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("start", [1, 3])
def test_a_deviation_of_the_output_is_that_of_the_pipeline(scheduler, start):
    """The scheduler alone tells what the model and the pipeline would."""
    subject = rehearsal(SCHEDULERS[scheduler]())
    full = subject.full(STEPS)
    for label in usable(subject.layout, full.timesteps)[:4]:
        before = start - 1 if label.looks_back > 1 else None
        simulated = output_deviations(full, label, before, start, STEPS)
        run = block_deviations(subject, full, label, before, start, STEPS)
        assert set(simulated) == set(run) == set(range(start + 2, STEPS + 1))
        for stop, deviation in simulated.items():
            assert deviation == pytest.approx(run[stop], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("label", standard_labels(), ids=lambda label: label.name)
def test_a_segment_that_ends_the_generation_goes_astray_as_far_as_its_plan(label):
    subject = rehearsal()
    full = subject.full(STEPS)
    start, before = STEPS - 3, STEPS - 4 if label.looks_back > 1 else None
    measure = output_deviations if label.scope == "output" else block_deviations
    arguments = (full, label, before, start, STEPS)
    strayed = measure(*arguments) if label.scope == "output" else measure(subject, *arguments)
    draft = Draft(tuple(range(start + 1)), (0,) * (start + 1))
    end, _ = run_of(subject, draft, [label], full)
    assert strayed[STEPS] == pytest.approx(distance(end, full.end), rel=1e-3, abs=1e-6)


def test_copies_of_a_watched_scheduler_are_not_watched():
    scheduler = diffusers.DDIMScheduler()
    scheduler.set_timesteps(4)
    seen = []

    def look(step):
        seen.append(step.number)
        raise Ended

    sample = torch.zeros(1, 4)
    with watched(scheduler, look, lambda number, sample: None):
        copy.deepcopy(scheduler).step(sample, scheduler.timesteps[0], sample)
        assert not seen
        with pytest.raises(Ended):
            scheduler.step(sample, scheduler.timesteps[0], sample)
    assert seen == [0] and type(scheduler) is diffusers.DDIMScheduler


def test_a_run_past_the_cache_tells_nothing_of_its_plan(monkeypatch):
    """It would be the full run, and the best of all plans."""
    subject = rehearsal()
    full = subject.full(STEPS)
    label = standard_labels()[0]
    draft = Draft((0, 1, 2, 3, 5), (0,) * 5)
    plan = plan_of(draft, [label], subject.layout, full.timesteps)
    monkeypatch.setattr("toca.engine.unplaced.Unplaced.why_in_full", lambda *_: "for a test")
    with pytest.raises(PastTheCache, match="past the cache"):
        subject.end_of(plan, full)
    assert Trials(subject, full, full.end, [label], Notes()).loss(draft) == WORST
    with pytest.raises(PastTheCache):
        subject.full(STEPS)
