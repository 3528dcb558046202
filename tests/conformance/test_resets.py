"""Nothing leaks from one generation to the next, however the one before ended."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import weakref
from typing import Any

import pytest
import torch

import toca
from toca.engine.install import engine_of
from toca.models import FAMILIES as FAMILY_SPECS

from ..helpers import FAMILIES, TINY, TINY_PIPELINES, inputs_for, pipeline_arguments, run_steps
from .common import (
    STEPS,
    assert_equal,
    cached_run,
    caching_method,
    differ,
    every_family,
    every_method,
    method_of,
)


class Stop(Exception):
    """Raised in the middle of a run."""


def fail(*_: Any) -> None:
    raise Stop


def first_stack(transformer: Any) -> Any:
    return transformer.transformer_blocks


@every_family
@every_method
def test_two_generations_equal_one(family: str, name: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, seed=1)
    other = inputs_for(family, STEPS, seed=5)
    wanted = cached_run(transformer, method_of(family, name), inputs)
    with toca.cached(transformer, method_of(family, name), num_inference_steps=STEPS):
        assert differ(run_steps(transformer, other), wanted)
        assert_equal(run_steps(transformer, inputs), wanted)
        assert_equal(run_steps(transformer, inputs), wanted)


@every_family
@caching_method
@pytest.mark.parametrize("done", [4])
def test_reset_starts_a_generation(family: str, name: str, done: int) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, seed=1)
    wanted = cached_run(transformer, method_of(family, name), inputs)
    with toca.cached(transformer, method_of(family, name), num_inference_steps=STEPS):
        run_steps(transformer, inputs_for(family, STEPS, seed=5)[:done])
        toca.reset(transformer)
        assert_equal(run_steps(transformer, inputs), wanted)


def runs_in(plan: Any, step: int, transformer: Any, family: str) -> Any:
    """A module that a step runs: the second block in most, else the output layer, and where the whole model is left
    out nothing but the model, which returns what takes its place."""
    left_out = [span for span in plan.spans[step] if 1 in span]
    if any(span.around == "model" for span in left_out):
        return transformer
    return getattr(transformer, FAMILY_SPECS[family].output) if left_out else first_stack(transformer)[1]


@every_family
@caching_method
@pytest.mark.parametrize("done", [0, 4])
def test_exception_in_a_block_resets(family: str, name: str, done: int) -> None:
    """Half a step has been written when it is raised; no `toca.reset` is needed afterwards."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, seed=1)
    other = inputs_for(family, STEPS, seed=5)
    wanted = cached_run(transformer, method_of(family, name), inputs)
    with toca.cached(transformer, method_of(family, name), num_inference_steps=STEPS):
        run_steps(transformer, other[:done])
        plan = method_of(family, name).plan(transformer, STEPS)
        hook = runs_in(plan, done, transformer, family).register_forward_hook(fail, prepend=True)
        with pytest.raises(Stop):
            run_steps(transformer, other[done : done + 1])
        hook.remove()
        assert_equal(run_steps(transformer, inputs), wanted)
        assert toca.summary(transformer).steps == plan.steps


CHANGES = {
    "batch": {"batch_size": 3},
    "wide": {"width": 20},
    "small": {"height": 8, "width": 8},
    "text": {"text": 5},
}
# The stock DiT is square and has no text.
SHAPES = [
    (family, change) for family in FAMILIES for change in CHANGES if family != "dit" or change in ("batch", "small")
]


def changed_inputs(family: str, steps: int, change: dict[str, int]) -> list[dict[str, Any]]:
    change = dict(change)
    text = change.pop("text", None)
    inputs = inputs_for(family, steps, seed=2, **change)
    if text is None:
        return inputs
    short = {"encoder_hidden_states": lambda t: t[:, :text], "encoder_attention_mask": lambda t: t[:, :text]}
    short["txt_ids"] = lambda t: t[:text]
    return [{k: short[k](v) if k in short else v for k, v in call.items()} for call in inputs]


@caching_method
@pytest.mark.parametrize(("family", "change"), SHAPES)
def test_another_shape_starts_anew(family: str, name: str, change: str) -> None:
    """A finished generation, then one of another shape, then the first again."""
    transformer, method = TINY[family](), method_of(family, name)
    inputs, others = inputs_for(family, STEPS, seed=1), changed_inputs(family, STEPS, CHANGES[change])
    wanted, wanted_others = cached_run(transformer, method, inputs), cached_run(transformer, method, others)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        assert_equal(run_steps(transformer, inputs), wanted)
        assert_equal(run_steps(transformer, others), wanted_others)
        assert_equal(run_steps(transformer, inputs), wanted)


@caching_method
@pytest.mark.parametrize(("family", "change"), [shape for shape in SHAPES if shape[1] in ("batch", "small")])
def test_another_size_in_the_middle_starts_a_generation(family: str, name: str, change: str) -> None:
    """A run of a bare transformer given up without a word, and the next of another size."""
    transformer, method = TINY[family](), method_of(family, name)
    inputs, others = inputs_for(family, STEPS, seed=1), changed_inputs(family, STEPS, CHANGES[change])
    wanted = cached_run(transformer, method, others)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        run_steps(transformer, inputs[:2])
        assert_equal(run_steps(transformer, others), wanted)


@every_family
@caching_method
def test_another_dtype_starts_anew(family: str, name: str) -> None:
    transformer, method = TINY[family](), method_of(family, name)
    inputs, halves = inputs_for(family, STEPS, seed=1), inputs_for(family, STEPS, seed=1, dtype=torch.bfloat16)
    wanted = cached_run(transformer, method, inputs)
    wanted_halves = cached_run(TINY[family]().bfloat16(), method, halves)
    toca.enable_cache(transformer, method, num_inference_steps=STEPS)
    assert_equal(run_steps(transformer, inputs), wanted)
    run_steps(transformer, inputs[:2])
    # `bfloat16` rounds the weights for good, so the way back is a fresh model's business.
    assert_equal(run_steps(transformer.bfloat16(), halves), wanted_halves)


@every_family
@pytest.mark.parametrize("name", ["preset", "fora"])
def test_stock_pipeline_stopped_in_a_block(family: str, name: str) -> None:
    method = method_of(family, name)
    pipe = TINY_PIPELINES[family]()
    with toca.cached(pipe, method):
        wanted = output_of(pipe, family)
    with toca.cached(pipe, method):
        calls = iter(range(100))
        hook = first_stack(pipe.transformer)[1].register_forward_hook(lambda *_: fail() if next(calls) == 3 else None)
        with pytest.raises(Stop):
            output_of(pipe, family)
        hook.remove()
        assert_equal([output_of(pipe, family)], [wanted])
        assert_equal([output_of(pipe, family)], [wanted])


def output_of(pipe: Any, family: str, **arguments: Any) -> torch.Tensor:
    output = pipe(**(pipeline_arguments(family, 6) | arguments))
    # An older DiT pipeline returns arrays whatever it is asked for.
    return torch.as_tensor(output.frames if family == "latte" else output.images)


@pytest.mark.parametrize("family", ["flux", "latte"])
def test_stock_pipeline_stopped_in_a_callback(family: str) -> None:
    def stop(pipe: Any, step: int, timestep: Any, values: dict) -> dict:
        if step == 2:
            raise Stop
        return values

    pipe = TINY_PIPELINES[family]()
    with toca.cached(pipe, toca.FORA(interval=2)):
        wanted = output_of(pipe, family)
        with contextlib.suppress(Stop):
            output_of(pipe, family, callback_on_step_end=stop)
        assert_equal([output_of(pipe, family)], [wanted])


@every_family
def test_finished_pipeline_holds_nothing(family: str) -> None:
    """The tensors are let go at the end; what was done can still be read."""
    pipe = TINY_PIPELINES[family]()
    branches: list[weakref.ref] = []

    def watch(transformer: Any, *_: Any) -> None:
        branches.extend(weakref.ref(branch) for branch in engine_of(transformer).branches.values())

    with toca.cached(pipe, toca.ToCa(interval=3)):
        hook = first_stack(pipe.transformer)[1].register_forward_hook(lambda *_: watch(pipe.transformer))
        output_of(pipe, family)
        hook.remove()
        gc.collect()
        assert branches and not any(branch() for branch in branches)
        assert toca.summary(pipe).cache_bytes > 0


@every_family
def test_finished_generation_of_a_bare_transformer_holds_nothing(family: str) -> None:
    transformer = TINY[family]()
    with toca.cached(transformer, toca.ToCa(interval=3), num_inference_steps=STEPS):
        run_steps(transformer, inputs_for(family, STEPS)[:-1])
        branches = [weakref.ref(branch) for branch in engine_of(transformer).branches.values()]
        run_steps(transformer, inputs_for(family, STEPS)[-1:])
        gc.collect()
        assert branches and not any(branch() for branch in branches)


@pytest.mark.parametrize("family", FAMILIES)
def test_other_method_after_disabling(family: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, seed=1)
    first = method_of(family, "random")
    second = dataclasses.replace(first, seed=3)
    wanted = cached_run(TINY[family](), second, inputs)
    cached_run(transformer, first, inputs[:3] + inputs[:5])
    assert_equal(cached_run(transformer, second, inputs), wanted)
