"""What the engine cannot place runs in full, with one warning."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

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
    every_family,
    method_of,
    scheduler_for,
)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("toca") and r.levelno == logging.WARNING]


@every_family
@caching_method
def test_gradients(family: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Training sees the uncached model, also between the steps of a generation, which it does not disturb."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    stock, wanted = run_steps(transformer, inputs), cached_run(transformer, method_of(family, name), inputs)
    with toca.cached(transformer, method_of(family, name), num_inference_steps=STEPS):
        got = run_steps(transformer, inputs[:4])
        for _ in range(2):
            latents = inputs[4]["hidden_states"].clone().requires_grad_()
            output = transformer(**(inputs[4] | {"hidden_states": latents})).sample
            assert torch.equal(output, stock[4])
            output.sum().backward()
            assert latents.grad is not None and latents.grad.abs().sum() > 0
        got += run_steps(transformer, inputs[4:])
    assert_equal(got, wanted)
    assert len(warnings(caplog)) == 1 and "no_grad" in warnings(caplog)[0]


@every_family
@caching_method
def test_inference_mode(family: str, name: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    wanted = cached_run(transformer, method_of(family, name), inputs)
    with toca.cached(transformer, method_of(family, name), num_inference_steps=STEPS):
        with torch.inference_mode():
            got = [transformer(**call).sample for call in inputs]
        assert_equal(got, wanted)
        assert_equal(run_steps(transformer, inputs), wanted)


@every_family
@caching_method
def test_a_step_in_inference_mode(family: str, name: str) -> None:
    """What it keeps cannot be written in outside: the step after starts anew."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    stock = run_steps(transformer, inputs)
    with toca.cached(transformer, method_of(family, name), num_inference_steps=STEPS):
        run_steps(transformer, inputs[:1])
        with torch.inference_mode():
            got = run_steps(transformer, inputs[1:4])
        got += run_steps(transformer, inputs[4:])
    assert_equal([got[0], got[3]], [stock[1], stock[4]])


@every_family
@pytest.mark.parametrize("name", ["preset", "fora", "forecast", "gate"])
def test_a_step_with_gradients_counts(family: str, name: str) -> None:
    """It keeps nothing, so the step after, which has nothing to go on from, computes everything."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    stock = run_steps(transformer, inputs)
    with toca.cached(transformer, method_of(family, name), num_inference_steps=STEPS):
        run_steps(transformer, inputs[:4])
        with torch.enable_grad():
            transformer(**inputs[4])
        got = run_steps(transformer, inputs[5:])
        assert [call.step for call in toca.summary(transformer).trace] == [0, 1, 2, 3, 5, 6, 7]
    assert torch.equal(got[0], stock[5])


@pytest.mark.parametrize("name", ["preset", "shared", "fora", "random"])
@every_family
def test_branch_that_skipped_steps(family: str, name: str) -> None:
    """What it remembers is too old, so it computes in full; the other branch is not disturbed."""
    transformer, method = TINY[family](), method_of(family, name)
    pipe = PipelineLike(scheduler_for(family), transformer)
    timesteps = [timestep for _, timestep in pipe.steps(STEPS)]
    runs = [inputs_for(family, STEPS, seed=seed) for seed in (1, 2)]
    runs = [[at(call, timestep) for call, timestep in zip(run, timesteps, strict=True)] for run in runs]
    stock, wanted = run_steps(transformer, runs[1]), cached_run(transformer, method, runs[0])
    got: list[torch.Tensor] = []
    with toca.cached(pipe, method), torch.no_grad():
        for position, _ in pipe.steps(STEPS):
            got.append(transformer(**runs[0][position]).sample)
            if position not in (2, 3):
                extra = transformer(**runs[1][position]).sample
            if position == 4:
                assert_close([extra], [stock[4]])
    assert_equal(got, wanted)


@every_family
def test_branch_that_starts_late(family: str) -> None:
    transformer, method = TINY[family](), method_of(family, "self")
    pipe = PipelineLike(scheduler_for(family), transformer)
    timesteps = [timestep for _, timestep in pipe.steps(STEPS)]
    inputs = [at(c, t) for c, t in zip(inputs_for(family, STEPS, seed=2), timesteps, strict=True)]
    stock = run_steps(transformer, inputs)
    with toca.cached(pipe, method), torch.no_grad():
        for position, _ in pipe.steps(STEPS):
            transformer(**inputs[position])
            if position >= 4:
                late = transformer(**inputs[position]).sample
                assert torch.allclose(late, stock[position], rtol=1e-4, atol=1e-4) == (position in (4, 6))


@every_family
def test_too_many_unnamed_calls(family: str, caplog: pytest.LogCaptureFixture) -> None:
    transformer, method = TINY[family](), toca.FORA(interval=4)
    pipe, inputs = PipelineLike(scheduler_for(family), transformer), inputs_for(family, 4, seed=2)
    inputs = [at(inputs[position], timestep) for position, timestep in pipe.steps(4)]
    stock, wanted = run_steps(transformer, inputs), cached_run(transformer, method, inputs)
    with toca.cached(pipe, method), torch.no_grad():
        for position, _ in pipe.steps(4):
            outputs = [transformer(**inputs[position]).sample for _ in range(11)]
            assert_equal(outputs[:8], [wanted[position]] * 8)
            assert_equal(outputs[8:], [stock[position]] * 3)
    assert len(warnings(caplog)) == 1 and "full" in warnings(caplog)[0]


@pytest.mark.parametrize("name", ["preset", "shared", "fora"])
@pytest.mark.parametrize("family", ["dit", "flux", "latte"])
def test_transformer_called_after_its_pipeline_ended(family: str, name: str) -> None:
    """A call outside any generation is the uncached one, twice as well as once, and the pipeline goes on as before."""
    pipe, method = TINY_PIPELINES[family](), method_of(family, name)
    extra = inputs_for(family, 1, seed=3)
    stock = run_steps(pipe.transformer, extra)
    with toca.cached(pipe, method):
        wanted = pipe(**pipeline_arguments(family, 4))[0]
        steps = toca.summary(pipe).steps
        assert_close(run_steps(pipe.transformer, extra * 2), stock * 2)
        assert torch.equal(torch.as_tensor(pipe(**pipeline_arguments(family, 4))[0]), torch.as_tensor(wanted))
        assert toca.summary(pipe).steps == steps


def test_transformer_called_when_its_scheduler_has_ended() -> None:
    """The cache came after the pipeline's run, so the engine has seen none of its steps."""
    pipe, extra = TINY_PIPELINES["pixart"](), inputs_for("pixart", 1, height=32, width=32)
    pipe(**pipeline_arguments("pixart", 4))
    stock = run_steps(pipe.transformer, extra)
    with toca.cached(pipe, method_of("pixart", "self")):
        assert_close(run_steps(pipe.transformer, extra * 2), stock * 2)


@every_family
def test_transformer_called_before_its_pipeline_ran(family: str) -> None:
    pipe = TINY_PIPELINES[family]()
    inputs = inputs_for(family, 1, **({"height": 32, "width": 32} if family == "pixart" else {}))
    stock = run_steps(pipe.transformer, inputs)
    with toca.cached(pipe, method_of(family, "self")):
        assert_close(run_steps(pipe.transformer, inputs), stock)


@pytest.mark.parametrize("name", ["preset", "fora"])
@every_family
def test_second_call_of_a_name_in_one_step(family: str, name: str) -> None:
    """One name twice in a step (a sampler that looks ahead): the second has a memory of its own."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    wanted = cached_run(transformer, method_of(family, name), inputs)
    with toca.cached(transformer, method_of(family, name), num_inference_steps=STEPS):
        got = run_steps(transformer, [call for call in inputs for _ in range(2)])
        assert len(toca.summary(transformer).steps) == STEPS
    assert_equal(got[::2], wanted)
    assert_equal(got[1::2], wanted)


def test_positional_arguments(caplog: Any) -> None:
    """The call is understood however its arguments are passed."""
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    wanted = cached_run(transformer, toca.ToCa(), inputs)
    with toca.cached(transformer, toca.ToCa(), num_inference_steps=STEPS), torch.no_grad():
        got = [transformer(c["hidden_states"], c["timestep"], c["class_labels"], None, False)[0] for c in inputs]
    assert_equal(got, wanted)


@pytest.mark.parametrize("extra", [0, 4, 64])
def test_flux_tokens_that_form_no_grid(extra: int, caplog: pytest.LogCaptureFixture) -> None:
    """A reference image in the sequence: of the same size it is a second grid, of another the bonus is off."""
    transformer, inputs = TINY["flux"](), inputs_for("flux", 4)
    longer = [
        call
        | {
            "hidden_states": torch.cat([call["hidden_states"], call["hidden_states"][:, :extra]], dim=1),
            "img_ids": torch.cat([call["img_ids"], call["img_ids"][:extra]]),
        }
        for call in inputs
    ]
    cached_run(transformer, method_of("flux", "self"), longer)
    assert ["bonus is off" in warning for warning in warnings(caplog)] == [True] * (extra == 4)


def test_calls_past_the_cache_are_told_in_the_summary() -> None:
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    with toca.cached(transformer, toca.FORA(), num_inference_steps=STEPS):
        with torch.enable_grad():
            transformer(**inputs[0])
        summary = toca.summary(transformer)
        assert summary.bypassed == 1 and "1 transformer calls ran in full" in str(summary)
        run_steps(transformer, inputs)
        assert toca.summary(transformer).bypassed == 0
