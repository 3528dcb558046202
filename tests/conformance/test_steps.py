"""The scheduler tells the step: other step counts, late starts, early ends, and schedulers of every kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
)

import toca

from ..helpers import TINY, TINY_PIPELINES, inputs_for, pipeline_arguments, run_steps
from .common import (
    STEPS,
    PipelineLike,
    assert_close,
    assert_equal,
    at,
    cached_run,
    caching_method,
    differ,
    every_family,
    method_of,
    method_of_any_length,
    scheduler_for,
)


def pipeline_run(pipe: PipelineLike, inputs: list[dict[str, Any]], first: int = 0) -> list[torch.Tensor]:
    with torch.no_grad():
        return [
            pipe.transformers[0](**at(inputs[position], timestep)).sample
            for position, timestep in pipe.steps(len(inputs), first)
        ]


@every_family
@caching_method
@pytest.mark.parametrize("given_up", [1, 4])
def test_scheduler_starts_a_generation(family: str, name: str, given_up: int) -> None:
    """A run given up between two steps (an exception in a callback, an interrupt): the scheduler tells."""
    transformer, method = TINY[family](), method_of(family, name)
    inputs, others = inputs_for(family, STEPS, seed=1), inputs_for(family, STEPS, seed=5)
    pipe = PipelineLike(scheduler_for(family), transformer)
    with toca.cached(pipe, method):
        wanted = pipeline_run(pipe, inputs)
    with toca.cached(pipe, method):
        with torch.no_grad():
            for position, timestep in pipe.steps(STEPS):
                transformer(**at(others[position], timestep))
                if position == given_up:
                    break
        assert_equal(pipeline_run(pipe, inputs), wanted)


@every_family
@caching_method
def test_guidance_that_ends_early_goes_on(family: str, name: str) -> None:
    """The batch is halved in mid-run: that step is computed in full, and then caching goes on with the plan (a gate
    may want to see one step more)."""
    transformer, method = TINY[family](), method_of(family, name)
    pipe = PipelineLike(scheduler_for(family), transformer)
    double, single = inputs_for(family, STEPS, seed=1, cfg=True), inputs_for(family, STEPS, seed=1)
    inputs = [at((double if p < 4 else single)[p], timestep) for p, timestep in pipe.steps(STEPS)]
    stock = run_steps(transformer, inputs)
    with toca.cached(pipe, method, batched_cfg=True):
        got = pipeline_run(pipe, inputs)
        steps = toca.summary(pipe).steps
    planned = method.plan(transformer, STEPS).steps
    assert steps in (planned[:4] + "F" + planned[5:], planned[:4] + "FF" + planned[6:])
    assert_close(got[4:5], stock[4:5])
    assert differ(got[5:], stock[5:])


@every_family
@method_of_any_length
def test_another_step_count(family: str, name: str) -> None:
    transformer, method = TINY[family](), method_of(family, name)
    pipe = PipelineLike(scheduler_for(family), transformer)
    few, many = inputs_for(family, 5, seed=1), inputs_for(family, 9, seed=1)
    with toca.cached(pipe, method):
        wanted_few = pipeline_run(pipe, few)
    with toca.cached(pipe, method):
        wanted_many = pipeline_run(pipe, many)
        assert toca.summary(pipe).steps == method.plan(transformer, 9).steps
        assert_equal(pipeline_run(pipe, few), wanted_few)
        assert toca.summary(pipe).steps == method.plan(transformer, 5).steps
        assert_equal(pipeline_run(pipe, many), wanted_many)


@every_family
@method_of_any_length
def test_fewer_steps_as_image_to_image(family: str, name: str) -> None:
    """A pipeline that begins at the third of eight steps has a generation of five."""
    transformer, method = TINY[family](), method_of(family, name)
    pipe, inputs = PipelineLike(scheduler_for(family), transformer), inputs_for(family, STEPS, seed=1)
    with toca.cached(pipe, method):
        pipeline_run(pipe, inputs)
        got = pipeline_run(pipe, inputs, first=3)
        assert toca.summary(pipe).steps == method.plan(transformer, STEPS - 3).steps
    timesteps = [timestep for _, timestep in pipe.steps(STEPS, first=3)]
    bare = [at(call, timestep) for call, timestep in zip(inputs[3:], timesteps, strict=True)]
    assert_equal(got, cached_run(transformer, method, bare))


@pytest.mark.parametrize("kind", [DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler])
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("name", ["preset", "fora"])
def test_schedulers_tell_the_same(kind: type, spacing: str, name: str) -> None:
    """Whether or not it counts its steps; also where the pipeline sets no begin index."""
    transformer, method = TINY["dit"](), method_of("dit", name)
    pipe = PipelineLike(kind(timestep_spacing=spacing), transformer)
    inputs = inputs_for("dit", STEPS, seed=1)
    with toca.cached(pipe, method):
        got = pipeline_run(pipe, inputs)
        assert toca.summary(pipe).steps == method.plan(transformer, STEPS).steps
    timesteps = [timestep for _, timestep in pipe.steps(STEPS)]
    bare = [at(call, timestep) for call, timestep in zip(inputs, timesteps, strict=True)]
    assert_equal(got, cached_run(transformer, method, bare))


def test_scheduler_that_calls_twice_a_step() -> None:
    """Heun repeats timesteps; every call of its 2N - 1 is a step of its own."""
    transformer, method = TINY["dit"](), toca.FORA(interval=3)
    pipe = PipelineLike(HeunDiscreteScheduler(), transformer)
    pipe.scheduler.set_timesteps(4)
    calls = len(pipe.scheduler.timesteps)
    inputs = inputs_for("dit", calls, seed=1)
    with toca.cached(pipe, method), torch.no_grad():
        latents = torch.zeros(1, 4, 2, 2)
        for call, timestep in zip(inputs, pipe.scheduler.timesteps, strict=True):
            transformer(**at(call, timestep))
            latents = pipe.scheduler.step(torch.ones_like(latents), timestep, latents).prev_sample
        assert toca.summary(pipe).steps == method.plan(transformer, calls).steps


@every_family
def test_scheduler_exchanged_after_enabling(family: str) -> None:
    pipe, method = TINY_PIPELINES[family](), toca.FORA(interval=3)
    toca.enable_cache(pipe, method)
    pipe(**pipeline_arguments(family, 5))
    if family != "flux":
        pipe.scheduler = EulerDiscreteScheduler()
    else:
        pipe.scheduler = type(pipe.scheduler)(use_dynamic_shifting=False)
    pipe(**pipeline_arguments(family, 7))
    assert toca.summary(pipe).steps == method.plan(pipe.transformer, 7).steps


def test_flow_matching_without_a_begin_index() -> None:
    """Before its first step such a scheduler has no step index; FLUX's own pipelines set a begin index."""
    transformer, method = TINY["flux"](), toca.FORA(interval=4)
    pipe, inputs = PipelineLike(scheduler_for("flux"), transformer), inputs_for("flux", STEPS)
    with toca.cached(pipe, method), torch.no_grad():
        pipe.scheduler.set_begin_index = lambda _: None
        for position, timestep in pipe.steps(STEPS):
            transformer(**at(inputs[position], timestep))
        assert toca.summary(pipe).steps == method.plan(transformer, STEPS).steps
