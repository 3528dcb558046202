"""Weights that lead a run back to the full one."""

from __future__ import annotations

import copy
from dataclasses import replace

import diffusers
import pytest
import torch

from tests.helpers import tiny_pixart_pipeline
from toca.axes.fills.fitted import Fitted
from toca.tuning.following import fitted_row, run_of, wanted_output
from toca.tuning.labels import Draft, Label, plan_of, unfitted
from toca.tuning.refinement import log_error
from toca.tuning.rehearsal import FullRun, Rehearsal

STEPS = 8
DRAFT = Draft((0, 1, 4, 7), (0, 0, 0, 0))
FITTED = Label("four values fitted, output", "output", fitted=4)

SCHEDULERS = {
    "ddim": diffusers.DDIMScheduler(clip_sample=False),
    "euler": diffusers.EulerDiscreteScheduler(),
    "ancestral": diffusers.EulerAncestralDiscreteScheduler(),
    "dpm": diffusers.DPMSolverMultistepScheduler(),
    "unipc": diffusers.UniPCMultistepScheduler(),
}


def rehearsal(scheduler: str = "dpm") -> Rehearsal:
    pipe = tiny_pixart_pipeline()
    pipe.scheduler = copy.deepcopy(SCHEDULERS[scheduler])
    return Rehearsal(pipe, ["a red owl", "two owls"], [0, 1], {})


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("step", [1, STEPS - 1])
def test_the_output_that_is_wanted_takes_the_latents_to_the_full_runs(scheduler, step):
    full = rehearsal(scheduler).full(STEPS)
    astray = full.latents[step] + 0.1 * torch.randn(full.latents[step].shape, generator=torch.manual_seed(0))
    snapshot = full.snapshots[step]
    output = wanted_output(full, step, astray, snapshot.resumed(), full.guided[step - 1])
    reached = snapshot.step(snapshot.resumed(), output.float(), astray)
    torch.testing.assert_close(reached, full.latents[step + 1], rtol=1e-3, atol=1e-4)


def test_where_the_output_is_no_sample_that_of_the_full_run_is_wanted():
    """Of models that tell variances too."""
    full = rehearsal().full(STEPS)
    twice = torch.cat([full.guided[2]] * 2, dim=1)
    assert wanted_output(full, 2, full.latents[2], full.snapshots[2].resumed(), twice) is full.guided[2]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_run_that_follows_comes_nearer_to_the_full_one(scheduler):
    subject = rehearsal(scheduler)
    full = subject.full(STEPS)
    end, fitted = run_of(subject, DRAFT, [FITTED], full)
    reused, none = run_of(subject, DRAFT, [Label("reuse the output", "output")], full)
    apart = fitted_to_the_full_run(subject, full)
    assert none is None
    assert log_error(end, full.end) < min(log_error(apart, full.end), log_error(reused, full.end)) - 0.1


def fitted_to_the_full_run(subject: Rehearsal, full: FullRun) -> torch.Tensor:
    """The end of a run whose weights were fitted to the full run's outputs, wherever the latents were."""
    rows = list(unfitted(4, STEPS))
    for step in DRAFT.filled(STEPS):
        known = [full.guided[start] for start in reversed(DRAFT.full) if start < step]
        row = fitted_row(known, full.guided[step]).values
        rows[step] = (*row, *[0.0] * (4 - len(row)))
    plan = plan_of(DRAFT, [FITTED], subject.layout, full.timesteps, Fitted(tuple(rows)))
    return subject.end_of(plan, full)


def test_the_plan_with_the_weights_of_a_run_is_that_run():
    subject = rehearsal()
    full = subject.full(STEPS)
    end, fitted = run_of(subject, DRAFT, [FITTED], full)
    assert isinstance(fitted, Fitted) and fitted.rows[4] == (1.0, 0.0, 0.0, 0.0) != fitted.rows[5]
    plan = plan_of(DRAFT, [FITTED], subject.layout, full.timesteps, fitted)
    assert plan.fill == fitted
    assert torch.equal(subject.end_of(plan, full), end)


def test_what_is_known_of_the_first_steps_changes_no_weight():
    subject = rehearsal()
    full = subject.full(STEPS)
    draft = Draft((0, 1, 2, 3, 4, 5, 7), (0,) * 7)
    whole, known = (run_of(subject, draft, [FITTED], full, until) for until in (0, 2))
    assert torch.equal(whole[0], known[0]) and whole[1] == known[1]


def test_another_label_is_made_good_for_by_the_steps_that_follow():
    """What plain reuse took astray in step 2, the weights of the later steps bring back."""
    subject = rehearsal()
    full = subject.full(STEPS)
    labels = [FITTED, Label("reuse the residual", "residual")]
    draft = Draft((0, 1, 3, 6), (0, 1, 0, 0))
    _, mixed = run_of(subject, draft, labels, full)
    _, pure = run_of(subject, Draft(draft.full, (0, 0, 0, 0)), labels, full)
    assert mixed is not None and pure is not None and mixed.rows[4] != pure.rows[4]


def test_the_latents_tell_where_the_run_has_come_to() -> None:
    """Weights of them bring a run nearer to the full one; a scheduler that has them scaled goes without."""
    subject = rehearsal("dpm")
    full = subject.full(STEPS)
    with_them, fitted = run_of(subject, DRAFT, [FITTED], full)
    without, plain = run_of(subject, DRAFT, [FITTED], replace(full, shares=()))
    assert fitted is not None and plain is not None
    assert fitted.adds_latents and [step for step in range(STEPS) if fitted.latents_weight(step)] == [2, 3, 5, 6]
    assert not plain.adds_latents and plain.latents == ()
    assert log_error(with_them, full.end) < log_error(without, full.end)
    scaled = rehearsal("euler")
    assert run_of(scaled, DRAFT, [FITTED], scaled.full(STEPS))[1].latents == ()
