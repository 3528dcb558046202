"""A step whose output is filled does not run the model at all, whoever has wrapped its `forward`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module
from torch import nn

import toca
from toca.hooks.tracing import can_compile

from .conformance.common import assert_close, assert_equal
from .conformance.test_exchanges import traces_of_toca
from .helpers import TINY, Inputs, inputs_for, run_steps

STEPS = 6
METHOD = toca.TaylorSeer(interval=3, order=1, scope="lite")
ON = {"method": METHOD, "num_inference_steps": STEPS}


class Calls:
    """How often what stands before the blocks has been called, and with what input."""

    def __init__(self, transformer: nn.Module) -> None:
        self.seen = 0
        embedder = getattr(transformer, "pos_embed", None) or transformer.x_embedder
        embedder.register_forward_pre_hook(self._called)

    def _called(self, *_: Any) -> None:
        self.seen += 1

    def __call__(self) -> int:
        seen, self.seen = self.seen, 0
        return seen


@pytest.fixture(params=["dit", "flux", "pixart", "latte"])
def model(request: pytest.FixtureRequest) -> Iterator[tuple[nn.Module, Inputs]]:
    yield TINY[request.param](), inputs_for(request.param, STEPS)


def test_the_model_runs_in_full_steps_alone(model: tuple[nn.Module, Inputs]) -> None:
    transformer, inputs = model
    calls = Calls(transformer)
    with toca.cached(transformer, **ON):
        run_steps(transformer, inputs)
        summary = toca.summary(transformer)
    full = summary.steps.count("F")
    assert 0 < full < STEPS
    assert calls() == full


@pytest.mark.parametrize("return_dict", [True, False])
def test_the_output_has_the_form_that_is_asked_for(return_dict: bool) -> None:
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    with toca.cached(transformer, **ON), torch.no_grad():
        outputs = [transformer(**call, return_dict=return_dict) for call in inputs]
    kinds = {type(output) for output in outputs}
    assert len(kinds) == 1
    assert isinstance(outputs[-1], tuple) is not return_dict


def test_a_hook_of_the_users_sees_what_the_pipeline_gets() -> None:
    transformer, inputs, seen = TINY["dit"](), inputs_for("dit", STEPS), []
    transformer.register_forward_hook(lambda module, args, output: seen.append(output.sample))
    with toca.cached(transformer, **ON):
        returned = run_steps(transformer, inputs)
    filled = [step for step, letter in enumerate(toca_steps(transformer, inputs)) if letter != "F"]
    assert filled
    assert_equal([seen[step] for step in filled], [returned[step] for step in filled])


def toca_steps(transformer: nn.Module, inputs: Inputs) -> str:
    with toca.cached(transformer, **ON):
        run_steps(transformer, inputs)
        return toca.summary(transformer).steps


def test_offloading_put_on_before_and_taken_off_while_the_cache_is_on() -> None:
    """Its hook puts back the `forward` that it found, and ours with it is gone: the next generation has it again."""
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    calls, stock = Calls(transformer), run_steps(transformer, inputs)
    with toca.cached(transformer, **ON):
        wanted = run_steps(transformer, inputs)
    calls()
    add_hook_to_module(transformer, ModelHook())
    toca.enable_cache(transformer, **ON)
    assert_equal(run_steps(transformer, inputs), wanted)
    full = calls()
    remove_hook_from_module(transformer)
    assert_equal(run_steps(transformer, inputs), wanted)
    assert calls() == full < STEPS
    toca.disable_cache(transformer)
    assert not traces_of_toca(transformer)
    assert_equal(run_steps(transformer, inputs), stock)


def test_offloading_put_on_after() -> None:
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    calls, stock = Calls(transformer), run_steps(transformer, inputs)
    toca.enable_cache(transformer, **ON)
    calls()
    wanted = run_steps(transformer, inputs)
    full = calls()
    add_hook_to_module(transformer, ModelHook())
    assert_equal(run_steps(transformer, inputs), wanted)
    assert calls() == full < STEPS
    toca.disable_cache(transformer)
    assert not traces_of_toca(transformer)
    assert_equal(run_steps(transformer, inputs), stock)
    remove_hook_from_module(transformer)
    assert not traces_of_toca(transformer)
    assert_equal(run_steps(transformer, inputs), stock)


def test_a_forward_that_somebody_put_in_the_place_of_ours_in_a_generation() -> None:
    """It is called, and what it returns counts."""
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    stock = run_steps(transformer, inputs)
    with toca.cached(transformer, **ON):
        run_steps(transformer, inputs[:3])
        transformer.forward = type(transformer).forward.__get__(transformer)
        got = run_steps(transformer, inputs[3:])
        summary = toca.summary(transformer)
    del transformer.forward
    assert summary.bypassed
    assert_close(got, stock[3:])


def test_what_forward_takes_is_told() -> None:
    transformer = TINY["dit"]()
    wanted = inspect.signature(transformer.forward)
    with toca.cached(transformer, **ON):
        assert inspect.signature(transformer.forward) == wanted


@pytest.mark.skipif(not can_compile(), reason="this torch cannot trace classes made on the fly")
def test_a_compiled_transformer() -> None:
    """`torch.compile` of the whole model: the graph breaks at ours, and the outputs stay."""
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    with toca.cached(transformer, **ON):
        wanted = run_steps(transformer, inputs)
        torch._dynamo.reset()
        assert_close(run_steps(torch.compile(transformer, backend="eager"), inputs), wanted)
    torch._dynamo.reset()
