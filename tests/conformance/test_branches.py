"""Branches never mix: guidance halves in one batch, calls in turn with and without names, two transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import toca

from ..helpers import FAMILIES, TINY, Inputs, inputs_for, run_steps, tiny_flux_pipeline
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
    scheduler_for,
)


def halves(inputs: Inputs) -> tuple[Inputs, Inputs]:
    """The calls of each guidance branch by itself."""
    return [_part(call, 0) for call in inputs], [_part(call, 1) for call in inputs]


def _part(call: dict[str, Any], half: int) -> dict[str, Any]:
    rows = call["hidden_states"].shape[0]

    def cut(value: Any) -> Any:
        batched = isinstance(value, Tensor) and value.shape[:1] == (rows,)
        return value.chunk(2)[half] if batched else value

    return {name: cut(value) for name, value in call.items()}


@every_family
@caching_method
def test_batched_halves_are_strangers_unless_told(family: str, name: str) -> None:
    """Without `batched_cfg` each row decides for itself, also where the method would share a selection."""
    transformer, method = TINY[family](), method_of(family, name)
    inputs = inputs_for(family, STEPS, batch_size=2, seed=3, cfg=True)
    first, second = (cached_run(transformer, method, half) for half in halves(inputs))
    got = cached_run(transformer, method, inputs)
    assert differ(first, second)
    assert_close([rows[:2] for rows in got], first)
    assert_close([rows[2:] for rows in got], second)


@every_family
def test_batched_halves_share_the_choice_but_not_the_features(family: str) -> None:
    """Where the choice depends on no feature, sharing it changes nothing."""
    transformer = TINY[family]()
    inputs = inputs_for(family, STEPS, batch_size=2, seed=3, cfg=True)
    method = toca.RandomTokens(interval=4, fresh_ratio=0.3)
    first, second = (cached_run(transformer, method, half) for half in halves(inputs))
    got = cached_run(transformer, method, inputs, batched_cfg=True)
    assert_close([rows[:2] for rows in got], first)
    assert_close([rows[2:] for rows in got], second)


@every_family
def test_sharing_a_choice_is_not_the_same_as_choosing_apart(family: str) -> None:
    """The two promises above are not kept by never sharing at all."""
    transformer, method = TINY[family](), method_of(family, "shared")
    inputs = inputs_for(family, STEPS, seed=3, cfg=True)
    together = cached_run(transformer, method, inputs, batched_cfg=True)
    assert differ(together, cached_run(transformer, method, inputs, batched_cfg=False))


@pytest.mark.parametrize("order", [("cond", "uncond"), ("uncond", "cond")])
@caching_method
def test_named_branches_in_turn(name: str, order: tuple[str, str]) -> None:
    transformer, method = TINY["flux"](), method_of("flux", name)
    runs = {"cond": inputs_for("flux", STEPS, seed=1), "uncond": inputs_for("flux", STEPS, seed=2)}
    wanted = {branch: cached_run(transformer, method, inputs) for branch, inputs in runs.items()}
    got: dict[str, list[Tensor]] = {"cond": [], "uncond": []}
    with toca.cached(transformer, method, num_inference_steps=STEPS), torch.no_grad():
        for step in range(2 * STEPS):
            for branch in order:
                with transformer.cache_context(branch):
                    got[branch].append(transformer(**runs[branch][step % STEPS]).sample)
        summary = toca.summary(transformer)
    assert len(summary.trace) == 2 * STEPS and summary.steps == method.plan(transformer, STEPS).steps
    for branch in order:
        assert_equal(got[branch], wanted[branch] * 2)


@every_family
@caching_method
@pytest.mark.parametrize("branches", [3])
def test_unnamed_branches_in_turn(family: str, name: str, branches: int) -> None:
    """Told apart by their place among the calls of a step."""
    transformer, method = TINY[family](), method_of(family, name)
    runs = [inputs_for(family, STEPS, seed=seed) for seed in range(branches)]
    pipe = PipelineLike(scheduler_for(family), transformer)
    timesteps = [timestep for _, timestep in pipe.steps(STEPS)]
    runs = [[at(call, timestep) for call, timestep in zip(run, timesteps, strict=True)] for run in runs]
    wanted = [cached_run(transformer, method, run) for run in runs]
    got: list[list[Tensor]] = [[] for _ in runs]
    with toca.cached(pipe, method), torch.no_grad():
        for _ in range(2):
            for position, _ in pipe.steps(STEPS):
                for outputs, run in zip(got, runs, strict=True):
                    outputs.append(transformer(**run[position]).sample)
        assert toca.summary(pipe).steps == method.plan(transformer, STEPS).steps
    for outputs, alone in zip(got, wanted, strict=True):
        assert_equal(outputs, alone * 2)


def assert_in_turn(pipe: PipelineLike, method: Any, callers: list, wanted: list[list[Tensor]]) -> None:
    """At every step each (transformer, inputs) calls once; the outputs are those of each by itself."""
    got: list[list[Tensor]] = [[] for _ in callers]
    with toca.cached(pipe, method), torch.no_grad():
        for position, _ in pipe.steps(STEPS):
            for outputs, (transformer, inputs) in zip(got, callers, strict=True):
                outputs.append(transformer(**inputs[position]).sample)
    for outputs, expected in zip(got, wanted, strict=True):
        assert_equal(outputs, expected)


@every_family
def test_branches_of_different_batch_sizes_in_turn(family: str) -> None:
    """An extra guidance call with half the rows keeps a memory of its own."""
    transformer, method = TINY[family](), method_of(family, "self")
    pipe = PipelineLike(scheduler_for(family), transformer)
    timesteps = [timestep for _, timestep in pipe.steps(STEPS)]
    runs = [inputs_for(family, STEPS, seed=1, batch_size=size) for size in (2, 1)]
    runs = [[at(call, timestep) for call, timestep in zip(run, timesteps, strict=True)] for run in runs]
    wanted = [cached_run(transformer, method, run) for run in runs]
    assert_in_turn(pipe, method, [(transformer, run) for run in runs], wanted)


@every_family
@caching_method
def test_two_transformers_at_every_step(family: str, name: str) -> None:
    transformers, method = (TINY[family](0), TINY[family](1)), method_of(family, name)
    pipe, inputs = PipelineLike(scheduler_for(family), *transformers), inputs_for(family, STEPS, seed=1)
    inputs = [at(inputs[position], timestep) for position, timestep in pipe.steps(STEPS)]
    wanted = [cached_run(transformer, method, inputs) for transformer in transformers]
    assert_in_turn(pipe, method, [(transformer, inputs) for transformer in transformers], wanted)


@every_family
@caching_method
def test_two_transformers_one_after_the_other(family: str, name: str) -> None:
    """One for much noise, one for little: the second begins with a full step of its own."""
    transformers, method = (TINY[family](0), TINY[family](1)), method_of(family, name)
    pipe, inputs = PipelineLike(scheduler_for(family), *transformers), inputs_for(family, STEPS, seed=1)
    inputs = [at(inputs[position], timestep) for position, timestep in pipe.steps(STEPS)]
    stock = run_steps(transformers[1], inputs)
    runs = []
    with toca.cached(pipe, method), torch.no_grad():
        for _ in range(2):
            runs.append([transformers[p > 2](**inputs[p]).sample for p, _ in pipe.steps(STEPS)])
    assert_equal(runs[1], runs[0])
    assert_close(runs[0][3:4], stock[3:4])


@pytest.mark.parametrize("name", ["preset", "fora", "shared"])
def test_flux_with_true_guidance(name: str) -> None:
    """The stock pipeline names its branches; an empty negative prompt is not the positive one."""
    pipe, method = tiny_flux_pipeline(), method_of("flux", name)
    arguments = {
        "prompt": "a red owl",
        "num_inference_steps": STEPS,
        "max_sequence_length": 8,
        "output_type": "latent",
        "negative_prompt": "blue",
        "true_cfg_scale": 3.0,
    }

    def generate(**changes: Any) -> Tensor:
        return pipe(**(arguments | changes), generator=torch.Generator().manual_seed(0)).images

    with toca.cached(pipe, method):
        with_guidance = generate()
        summary = toca.summary(pipe)
        without = generate(true_cfg_scale=1.0)
        assert torch.equal(generate(), with_guidance)
    assert summary.steps == method.plan(pipe.transformer, STEPS).steps
    assert {call.branch for call in summary.trace} == {"cond", "uncond"}
    with toca.cached(pipe, method):
        assert torch.equal(generate(true_cfg_scale=1.0), without)
    assert not torch.equal(with_guidance, without)


@pytest.mark.parametrize("family", FAMILIES)
def test_two_enabled_models_do_not_meet(family: str) -> None:
    one, two = TINY[family](0), TINY[family](1)
    inputs = inputs_for(family, STEPS, seed=1)
    method = method_of(family, "self")
    wanted = cached_run(one, method, inputs), cached_run(two, method, inputs)
    options = {"num_inference_steps": STEPS}
    with toca.cached(one, method, **options), toca.cached(two, method, **options):
        pairs = [(run_steps(one, [call])[0], run_steps(two, [call])[0]) for call in inputs]
    assert_equal([pair[0] for pair in pairs], wanted[0])
    assert_equal([pair[1] for pair in pairs], wanted[1])


def test_two_transformers_one_after_the_other_are_summed_up_by_step() -> None:
    """The summary has one letter for each step of the sampler, and a plan for all of its steps fits."""
    transformers = TINY["dit"](0), TINY["dit"](1)
    pipe, inputs = PipelineLike(scheduler_for("dit"), *transformers), inputs_for("dit", STEPS, seed=1)
    plan = toca.FORA(interval=4).plan(transformers[0], STEPS)
    for method in (toca.FORA(interval=4), plan):
        with toca.cached(pipe, method), torch.no_grad():
            for position, timestep in pipe.steps(STEPS):
                transformers[position > 2](**at(inputs[position], timestep))
            assert len(toca.summary(pipe).steps) == STEPS


@pytest.mark.parametrize("name", ["preset", "fora"])
def test_a_name_used_twice_in_a_step(name: str) -> None:
    """The calls of one name in one step are told apart by their place among them."""
    transformer, method = TINY["flux"](), method_of("flux", name)
    pipe = PipelineLike(scheduler_for("flux"), transformer)
    timesteps = [timestep for _, timestep in pipe.steps(STEPS)]
    runs = [inputs_for("flux", STEPS, seed=seed) for seed in (1, 2)]
    runs = [[at(call, timestep) for call, timestep in zip(run, timesteps, strict=True)] for run in runs]
    wanted = [cached_run(transformer, method, run) for run in runs]
    got: list[list[Tensor]] = [[], []]
    with toca.cached(pipe, method), torch.no_grad():
        for position, _ in pipe.steps(STEPS):
            for outputs, run in zip(got, runs, strict=True):
                with transformer.cache_context("cond"):
                    outputs.append(transformer(**run[position]).sample)
    assert_equal(got[0], wanted[0])
    assert_equal(got[1], wanted[1])
