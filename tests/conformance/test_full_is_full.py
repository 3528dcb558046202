"""An interval of 1, or a fresh ratio of 1 in every module, is the uncached model."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import toca

from ..helpers import TINY, TINY_PIPELINES, inputs_for, pipeline_arguments, run_steps, still
from .common import STEPS, assert_close, assert_equal, both_dtypes, cached_run, every_family, method_of

EVERY_MODULE = dict.fromkeys(("self_attn", "cross_attn", "ff", "ff_context", "block"), 1.0)
SCORES = ("self_attention", "cross_attention", "value_norm")
FULL = {
    "toca-interval": toca.ToCa(interval=1),
    "fora-interval": toca.FORA(interval=1),
    "random-interval": toca.RandomTokens(interval=1, fresh_ratio=0.2),
    "random-ratio": toca.RandomTokens(interval=4, fresh_ratio=1.0),
    "none": toca.NoCache(),
} | {
    f"toca-ratio-{score}": toca.ToCa(interval=4, fresh_ratio=1.0, score=score, module_factor=EVERY_MODULE)
    for score in SCORES
}


@every_family
@pytest.mark.parametrize("name", FULL)
@both_dtypes
def test_full_is_bitwise_full(family: str, name: str, dtype: torch.dtype) -> None:
    transformer, inputs = TINY[family]().to(dtype), inputs_for(family, STEPS, batch_size=2, cfg=True, dtype=dtype)
    stock = run_steps(transformer, inputs)
    with toca.cached(transformer, FULL[name], num_inference_steps=STEPS, batched_cfg=True):
        assert_equal(run_steps(transformer, inputs), stock)
        summary = toca.summary(transformer)
    assert summary.steps == "F" * STEPS and summary.flops == summary.flops_full
    assert summary.flops_speedup == 1 and summary.tokens_recomputed == 1 and summary.cache_bytes == 0
    assert "Nothing was skipped" in str(summary)


@every_family
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("shared", [False, True])
def test_almost_full_is_almost_full(family: str, score: str, shared: bool) -> None:
    """Gather, run and scatter of nearly all tokens, in every module that can be partial: one token at most is old."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, cfg=True)
    inputs = still(inputs[0], STEPS)
    stock = run_steps(transformer, inputs)
    method = toca.ToCa(interval=4, fresh_ratio=0.99, score=score, shared_cfg=shared)
    with toca.cached(transformer, method, num_inference_steps=STEPS, batched_cfg=True):
        # With equal inputs an old feature is right, so any difference is a wrong row.
        assert_close(run_steps(transformer, inputs), stock)
        assert "t" in toca.summary(transformer).steps


@every_family
@pytest.mark.parametrize("name", ["preset", "shared", "value", "self", "fora", "random"])
def test_equal_inputs_give_equal_outputs(family: str, name: str) -> None:
    """When nothing changes from step to step, what is remembered is exact, whatever is picked."""
    transformer, inputs = TINY[family](), still(inputs_for(family, STEPS, batch_size=2, cfg=True)[0], STEPS)
    got = cached_run(transformer, method_of(family, name), inputs, batched_cfg=True)
    assert_close(got, run_steps(transformer, inputs))


@every_family
@both_dtypes
@pytest.mark.parametrize("score", SCORES)
def test_first_step_is_measured_and_right(family: str, score: str, dtype: torch.dtype) -> None:
    """A full step that measures attention computes the same, up to rounding."""
    transformer, inputs = TINY[family]().to(dtype), inputs_for(family, STEPS, batch_size=2, dtype=dtype)
    stock = run_steps(transformer, inputs[:1])
    with toca.cached(transformer, toca.ToCa(score=score), num_inference_steps=STEPS):
        got = run_steps(transformer, inputs[:1])
    assert_close(got, stock, 1e-5 if dtype == torch.float32 else 2e-2)


@every_family
@pytest.mark.parametrize("ratio", [0.0, 1e-6])
def test_no_tokens_is_reuse(family: str, ratio: float) -> None:
    """A share that rounds down to no token computes nothing and is FORA."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    wanted = cached_run(transformer, toca.FORA(interval=3, counts_down=False), inputs)
    for method in (toca.ToCa(interval=3, fresh_ratio=ratio), toca.RandomTokens(interval=3, fresh_ratio=ratio)):
        assert_close(cached_run(transformer, method, inputs), wanted)


@every_family
def test_full_pipeline_is_the_stock_pipeline(family: str) -> None:
    pipe = TINY_PIPELINES[family]()
    wanted = torch.as_tensor(pipe(**pipeline_arguments(family, 5))[0])
    method = dataclasses.replace(method_of(family, "preset"), interval=1, module_interval={})
    with toca.cached(pipe, method):
        assert torch.equal(torch.as_tensor(pipe(**pipeline_arguments(family, 5))[0]), wanted)


@every_family
def test_hooked_norms_are_left_alone(family: str) -> None:
    """Narrowing the norms changes no number: with every norm replaced on the instance the outputs are the same."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    wanted = cached_run(transformer, method_of(family, "preset"), inputs)
    for module in transformer.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.forward = type(module).forward.__get__(module)
    assert_close(cached_run(transformer, method_of(family, "preset"), inputs), wanted, 1e-6)
