"""What callers tell of their calls and what is taken from it: the step, the branch, and which runs belong together."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.models.cache_utils import CacheMixin
from torch import Tensor, nn

import toca
from toca.engine.guidance import Guidance
from toca.models import family_of

from .conformance.common import PipelineLike, assert_equal, at, cached_run
from .conformance.test_cost import held_bytes
from .helpers import TINY, Inputs, inputs_for, run_steps
from .zoo import ZOO

STEPS = 7
FORA = toca.FORA(interval=2)


# --- the step, as it is told in `cache_context` ---------------------------------------------------------------------

NAME_ALONE = len(inspect.signature(CacheMixin.cache_context).parameters) == 2
told_steps = pytest.mark.skipif(NAME_ALONE, reason="this diffusers has no cache_context that takes a step")


def told_run(transformer: nn.Module, inputs: Inputs, **more: Any) -> list[Tensor]:
    """Two branches a step; the caller says the step of each call."""
    outputs = []
    for step, call in enumerate(inputs):
        for branch in ("cond", "uncond"):
            with transformer.cache_context(branch, step_index=step, **more), torch.no_grad():
                outputs.append(transformer(**call).sample)
    return outputs


@told_steps
@pytest.mark.parametrize("same", ["timestep", "latents"])
def test_the_step_is_as_it_is_told(same: str) -> None:
    """Whatever the timesteps say, which repeat (Heun) or are the same throughout."""
    transformer, inputs = TINY["flux"](), inputs_for("flux", STEPS)
    if same == "timestep":
        inputs = [call | {"timestep": inputs[0]["timestep"]} for call in inputs]
    else:
        inputs = [call | {"hidden_states": inputs[0]["hidden_states"]} for call in inputs]
    wanted = [output for output in cached_run(transformer, FORA, inputs_of_falling(inputs)) for _ in range(2)]
    with toca.cached(transformer, FORA, num_inference_steps=STEPS):
        for _ in range(2):
            got = told_run(transformer, inputs)
            assert toca.summary(transformer).steps == "FrFrFrF" and toca.summary(transformer).bypassed == 0
    if same == "latents":
        assert_equal(got, wanted)


def inputs_of_falling(inputs: Inputs) -> Inputs:
    """The same with timesteps that tell the steps apart, and change next to nothing."""
    falling = [call["timestep"].double() - 1e-9 * step for step, call in enumerate(inputs)]
    return [call | {"timestep": time} for call, time in zip(inputs, falling, strict=True)]


@told_steps
def test_the_number_of_steps_is_as_it_is_told() -> None:
    transformer = TINY["flux"]()
    with toca.cached(transformer, FORA, num_inference_steps=50):
        told_run(transformer, inputs_for("flux", STEPS), num_inference_steps=STEPS)
        assert toca.summary(transformer).steps == "FrFrFrF"
        assert held_bytes(transformer) == 0


@told_steps
@pytest.mark.parametrize("told", [-1, STEPS, None, "2", 2.0])
def test_what_cannot_be_a_step_is_not_heard(told: Any) -> None:
    transformer, inputs = TINY["flux"](), inputs_for("flux", STEPS)
    wanted = cached_run(transformer, FORA, inputs)
    with toca.cached(transformer, FORA, num_inference_steps=STEPS), torch.no_grad():
        got = []
        for call in inputs:
            with transformer.cache_context("cond", step_index=told):
                got.append(transformer(**call).sample)
    assert_equal(got, wanted)


@told_steps
def test_a_pipeline_that_tells_the_step_needs_no_known_timestep() -> None:
    """Its last steps alone are told from 0 on, as in video-to-video."""
    transformer, inputs = TINY["flux"](), inputs_for("flux", STEPS)
    pipe = PipelineLike(FlowMatchEulerDiscreteScheduler(), transformer)
    with toca.cached(pipe, FORA):
        for position, _ in pipe.steps(STEPS, first=2):
            told = {"step_index": position - 2, "num_inference_steps": STEPS - 2}
            with transformer.cache_context("cond", **told), torch.no_grad():
                transformer(**inputs[position] | {"timestep": torch.tensor([0.123])})
        assert toca.summary(pipe).steps == "FrFrF" and toca.summary(pipe).bypassed == 0


# --- frames at steps of their own -----------------------------------------------------------------------------------


def forcing(frames: int, blocks: int) -> list[Tensor]:
    """Timesteps (1, frames) of diffusion forcing: every block of frames a step behind the one before; the same for
    all with one block."""
    schedule = torch.tensor([1000.0, 800.0, 600.0, 400.0, 200.0])
    rows = range(len(schedule) + blocks - 1)
    lag = torch.arange(frames) * blocks // frames
    index = [(row - lag).clamp(0, len(schedule) - 1) for row in rows]
    return [schedule[i][None] for i in index]


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("branches", [("cond", "uncond"), (None, None)], ids=["named", "unnamed"])
def test_frames_that_are_apart_run_in_full(blocks: int, branches: tuple, caplog: pytest.LogCaptureFixture) -> None:
    entry = ZOO["WanTransformer3DModel"]
    transformer = entry.make()
    call = entry.inputs(0, 1)
    tokens = 24  # of a frame
    frames = call["hidden_states"].shape[2]
    times = [time.repeat_interleave(tokens, dim=1) for time in forcing(frames, blocks)]
    inputs = [entry.inputs(0, 1) | {"timestep": time} for time in times]
    for step, each in enumerate(inputs):
        each["hidden_states"] = each["hidden_states"] + 0.1 * step
    stock = [sample for sample in run_steps(transformer, inputs) for _ in branches]
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(timesteps=[1000.0, 800.0, 600.0, 400.0, 200.0])
    scheduler.timesteps = torch.tensor([1000.0, 800.0, 600.0, 400.0, 200.0])
    pipe, got = PipelineLike(scheduler, transformer), []
    with toca.cached(pipe, FORA), torch.no_grad():
        for each in inputs:
            for name in branches:
                if name is None:
                    got.append(transformer(**each).sample)
                else:
                    with transformer.cache_context(name):
                        got.append(transformer(**each).sample)
        summary = toca.summary(pipe)
    if blocks == 1:
        assert summary.steps == "FrFrF" and summary.bypassed == 0
    else:
        assert_equal(got, stock)
        assert summary.bypassed == len(branches) * (len(inputs) - 1)
        assert caplog.text.count("diffusion forcing") == 1


# --- how many parts a batch has -------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("alike", [False, True])
def test_two_parts_are_a_pair_and_three_are_none(images: int, parts: int, alike: bool) -> None:
    """Also where all images begin with the same noise, but for those that may be three parts as well as two."""
    spec = family_of(TINY["pixart"]())
    latents = torch.randn(1 if alike else images, 4, 2, 2).expand(images, -1, -1, -1).repeat(parts, 1, 1, 1)
    paired = Guidance(spec, PipelineLike(None), None).is_paired(latents)
    if parts == 3:
        assert not paired
    elif not alike or images == 1:
        assert paired == (parts == 2)
    else:
        assert not paired or len(latents) % 3


# --- which runs belong together -------------------------------------------------------------------------------------


class InSections(PipelineLike):
    """A pipeline that runs its scheduler several times in a call."""

    def __call__(self, inputs: Inputs, sections: tuple[int, ...], fails_in: int | None = None) -> list[Tensor]:
        (transformer,) = self.transformers
        outputs = []
        for section, steps in enumerate(sections):
            for position, timestep in self.steps(steps):
                if section == fails_in and position == 1:
                    raise ValueError("broken off")
                with torch.no_grad():
                    outputs.append(transformer(**at(inputs[position], timestep)).sample)
        self.maybe_free_model_hooks()
        return outputs

    def maybe_free_model_hooks(self) -> None:
        for transformer in self.transformers:
            getattr(transformer, "_reset_stateful_cache", lambda: None)()


def test_runs_of_one_call_add_up() -> None:
    transformer, inputs = TINY["flux"](), inputs_for("flux", 5)
    pipe = InSections(FlowMatchEulerDiscreteScheduler(), transformer)
    alone = {}
    with toca.cached(pipe, FORA):
        for steps in (3, 5):
            pipe(inputs, (steps,))
            alone[steps] = toca.summary(pipe)
        for _ in range(2):
            pipe(inputs, (3, 5, 3))
            summary = toca.summary(pipe)
            assert summary.steps == summary.steps_of(0) == "FrFFrFrFFrF" and summary.full_steps == 7
            assert [call.step for call in summary.trace] == list(range(11))
            assert summary.flops == 2 * alone[3].flops + alone[5].flops
            assert summary.flops_full == 2 * alone[3].flops_full + alone[5].flops_full
            assert summary.cache_bytes == alone[3].cache_bytes
        pipe(inputs, (5,))
        assert toca.summary(pipe) == alone[5]


@pytest.mark.parametrize("fails_in", [0, 1])
def test_a_call_that_was_broken_off_is_not_added(fails_in: int) -> None:
    transformer, inputs = TINY["flux"](), inputs_for("flux", 5)
    pipe = InSections(FlowMatchEulerDiscreteScheduler(), transformer)
    with toca.cached(pipe, FORA):
        for _ in range(3):
            with pytest.raises(ValueError, match="broken off"):
                pipe(inputs, (3, 5), fails_in)
        pipe(inputs, (3,))
        assert toca.summary(pipe).steps == "FrF"


def test_loops_that_are_no_pipelines_are_calls_of_their_own() -> None:
    transformer, inputs = TINY["flux"](), inputs_for("flux", 3)
    pipe = PipelineLike(FlowMatchEulerDiscreteScheduler(), transformer)
    with toca.cached(pipe, FORA), torch.no_grad():
        for _ in range(2):
            for position, timestep in pipe.steps(3):
                transformer(**at(inputs[position], timestep))
            assert toca.summary(pipe).steps == "FrF"
