"""What cannot be tuned says so in a sentence, and what looks as if it could not is tuned rightly."""

from __future__ import annotations

import diffusers
import pytest
import torch

import toca
from tests.helpers import tiny_dit_pipeline, tiny_flux_pipeline
from tests.pipelines_tiny import STYLES, hunyuanvideo15, pixart, wan
from tests.pipelines_tiny.style import made, transformers_of
from tests.tuning.clocks import BlockClock
from toca.engine.install import engine_of
from toca.tuning import clock
from toca.tuning.generations import Generations
from toca.tuning.refusals import (
    check_one_call_a_step,
    check_pipeline,
    check_prompts,
    check_reproducible,
    check_whole_schedule,
    steps_that_must_be_full,
    transformer_of,
)
from toca.tuning.rule import setting_for
from toca.tuning.rules import tune_rules

STEPS = 5
PIXART = {"prompt": "an owl", "height": 32, "width": 32, "use_resolution_binning": False, "output_type": "latent"}

# --- prompts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prompts, got",
    [
        ([], "got none"),
        (["an owl"], "got only 'an owl'"),
        (["an owl", "an owl"], "got only 'an owl'"),
        ("an owl", "must be a list of prompts, got 'an owl'"),
        (None, "must be a list of prompts, got None"),
        ({"prompt": "an owl"}, "must be a list of prompts"),
        (["an owl", "  "], r"`prompts`\[1\] is empty"),
    ],
)
def test_fewer_than_two_prompts_are_refused(prompts, got):
    with pytest.raises(ValueError, match=got):
        check_prompts(prompts)


def test_prompts_that_come_again_count_once():
    assert check_prompts(["a", "b", "a"]) == ["a", "b"]
    assert check_prompts(iter([3, 7])) == [3, 7]
    embedded = [{"prompt_embeds": torch.zeros(1)}, {"prompt_embeds": torch.zeros(1)}]
    assert check_prompts(embedded) == embedded


# --- pipelines -------------------------------------------------------------------------------------------------------


def test_pipelines_that_can_be_searched_pass():
    for make in (tiny_flux_pipeline, tiny_dit_pipeline):
        check_pipeline(make())


def test_two_transformers_are_refused():
    with pytest.raises(ValueError, match="WanPipeline has 2 transformers that take turns, and plans are"):
        check_pipeline(wan.two())


def test_a_transformer_by_itself_is_refused():
    with pytest.raises(ValueError, match="`pipe` must be a pipeline, whose scheduler tells the steps, got Flux"):
        check_pipeline(tiny_flux_pipeline().transformer)


def test_a_model_of_no_family_is_refused():
    pipe = tiny_flux_pipeline()
    pipe.transformer = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match="Linear"):
        transformer_of(pipe)


def test_a_cache_that_is_on_is_refused():
    pipe = tiny_flux_pipeline()
    with toca.cached(pipe, "fora"), pytest.raises(ValueError, match="A toca cache is on, and plans are searched"):
        check_pipeline(pipe)


class Stepless:
    """No scheduler of diffusers."""

    timesteps = ()


@pytest.mark.parametrize(
    "scheduler, lacking", [(None, "has no scheduler: plans"), (Stepless(), "has Stepless, which has no `step`: plans")]
)
def test_a_scheduler_that_cannot_be_followed_is_refused(scheduler, lacking):
    pipe = tiny_flux_pipeline()
    pipe.scheduler = scheduler
    with pytest.raises(ValueError, match=f"This FluxPipeline {lacking}"):
        check_pipeline(pipe)


# --- schedulers ------------------------------------------------------------------------------------------------------


def twice(scheduler) -> tuple[torch.Tensor, torch.Tensor]:
    """The final latents of two full runs of a tiny PixArt from one seed."""
    generations = Generations(pixart.make(scheduler=scheduler), STEPS, pixart.SIZE | {"output_type": "latent"})
    prompt = {name: value() if callable(value) else value for name, value in pixart.prompts().items()}
    first, second = (torch.as_tensor(generations.make(prompt, 3).sample) for _ in range(2))
    return first, second


@pytest.mark.parametrize("name", ["DDPMScheduler", "EulerAncestralDiscreteScheduler", "LCMScheduler"])
def test_noise_from_the_generator_is_no_hindrance(name):
    check_reproducible(*twice(getattr(diffusers, name)()))


class Restless(diffusers.DDIMScheduler):
    """Draws noise that no generator of a call reaches."""

    def step(self, model_output, timestep, sample, **more):
        return super().step(model_output, timestep, sample + 0.1 * torch.randn_like(sample), **more)


def test_a_full_run_that_is_another_each_time_is_refused():
    with pytest.raises(ValueError, match="Two full runs of the same prompts and seeds end apart"):
        check_reproducible(*twice(Restless()))


def test_rounding_is_no_other_run_and_numbers_are_finite():
    end = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    check_reproducible(end, end * (1 + 1e-4))
    with pytest.raises(ValueError, match="end apart"):
        check_reproducible(end, end * 1.01)
    with pytest.raises(ValueError, match="end apart"):
        check_reproducible(end, end[:1])
    with pytest.raises(ValueError, match="not finite"):
        check_reproducible(end * torch.inf, end)


@pytest.mark.parametrize("name", ["HeunDiscreteScheduler", "KDPM2DiscreteScheduler"])
def test_two_calls_a_step_are_refused(name):
    scheduler = getattr(diffusers, name)()
    scheduler.set_timesteps(STEPS)
    with pytest.raises(ValueError, match=f"{name} calls the model 9 times in 5 steps, for which no plan can be tuned"):
        check_one_call_a_step(scheduler, STEPS, scheduler.timesteps.tolist())


@pytest.mark.parametrize("name", ["DDIMScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"])
def test_one_call_a_step_is_what_plans_are_for(name):
    scheduler = getattr(diffusers, name)()
    scheduler.set_timesteps(STEPS)
    check_one_call_a_step(scheduler, STEPS, scheduler.timesteps.tolist())
    check_one_call_a_step(scheduler, STEPS, scheduler.timesteps.tolist()[2:])


# --- guidance --------------------------------------------------------------------------------------------------------


def calls_of(pipe) -> list[tuple[int, str]]:
    """Step and branch of each call of a full run."""
    with toca.cached(pipe, toca.NoCache()):
        STYLES["hunyuanvideo15"].generate(pipe)
        return [(call.step, call.branch) for part in transformers_of(pipe) for call in engine_of(part).record.calls]


def test_guidance_that_starts_late_has_a_step_that_must_be_full():
    """It begins in the third step of five: filled, that one would compute the new branch after all."""
    pipe = made(lambda: hunyuanvideo15.make(start=0.4, stop=1.0))
    first, late = sorted(steps_that_must_be_full(calls_of(pipe)))
    assert first == 0 and late > 0
    reuse = toca.TaylorSeer(interval=STEPS, order=0)
    with toca.cached(pipe, reuse):
        STYLES["hunyuanvideo15"].generate(pipe)
        assert [step for step, letter in enumerate(toca.summary(pipe).steps) if letter == "m"] == [late]


def test_a_branch_that_comes_back_starts_anew():
    calls = [(step, "cond") for step in range(6)] + [(step, "uncond") for step in (0, 4, 5)]
    assert steps_that_must_be_full(calls) == {0, 4}
    assert steps_that_must_be_full((step, 0) for step in range(4)) == {0}


# --- thresholds of what plans are not for ----------------------------------------------------------------------------


@pytest.mark.parametrize("name, calls", [("pixart-heun", 9), ("wan-two-transformers", 5)])
def test_thresholds_are_found_all_the_same(name, calls, monkeypatch):
    """A gate counts calls as they come, whichever the transformer and however many a step has."""
    style = STYLES[name]
    pipe = style.pipeline()
    monkeypatch.setattr(clock, "time", BlockClock(pipe))
    given = {key: value() if callable(value) else value for key, value in style.arguments.items()}
    call = {"output_type": "latent"}
    arguments = {"speedups": (1.2,), "num_inference_steps": STEPS, "call": call, "rounds": 1}
    (rule,) = tune_rules(pipe, ["fbcache"], [given], [given], **arguments)
    generations = Generations(pipe, STEPS, call)
    run, full = (generations.make(given, 1, method) for method in (setting_for(rule, rule.fastest), None))
    assert len(run.steps) == len(full.steps) == calls
    assert rule.fastest == pytest.approx(full.seconds / run.seconds)


def test_a_call_that_runs_a_part_of_its_schedule_is_refused():
    check_whole_schedule(20, 20)
    with pytest.raises(ValueError, match="ran 10 steps when it was asked for 20"):
        check_whole_schedule(20, 10)
