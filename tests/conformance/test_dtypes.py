"""Weights, features and latents of every kind x every method: what comes out, and what is kept, is what was said."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import toca

from ..helpers import FAMILIES, TINY, Inputs, inputs_for, relative_error, run_steps
from .common import assert_close, assert_equal, cached_run
from .test_arguments import CALIBRATED, method_named, methods_of
from .test_cost import held_bytes, options_for

STEPS = 6
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "fp8": torch.bfloat16}
KINDS = ("float16", "bfloat16", "fp8", "autocast", "wide")
WIDE = {
    "dit": {"in_channels": 8, "out_channels": 4},
    "pixart": {"in_channels": 8, "out_channels": 4},
    "flux": {"in_channels": 24, "out_channels": 16},
    "latte": {"in_channels": 8, "out_channels": 4},
}
CASES = [
    (kind, family, name)
    for kind in KINDS
    for family in FAMILIES
    for name in methods_of(family)
    if kind != "wide" or name not in CALIBRATED  # A calibration is of one model.
]
# One in five: every method meets several families, and every family all kinds.
CHOSEN = CASES[::5]


def model_of(kind: str, family: str) -> nn.Module:
    """A tiny model with weights of a kind; `wide` takes in more channels than it returns, as FLUX Fill and Control."""
    model = TINY[family](**(WIDE[family] if kind == "wide" else {}))
    model = model.to(DTYPES.get(kind, torch.float32))
    if kind == "fp8":
        model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)
    return model


def given(kind: str, family: str, batch: int = 2) -> Inputs:
    inputs = inputs_for(family, STEPS, batch_size=batch, dtype=DTYPES.get(kind, torch.float32))
    return [widened(call, family) for call in inputs] if kind == "wide" else inputs


def widened(call: dict[str, Any], family: str) -> dict[str, Any]:
    """Channels beside those of the latents: a picture to fill, or a control."""
    latents, dim = call["hidden_states"], 2 if family == "flux" else 1
    more = WIDE[family]["in_channels"] - latents.shape[dim]
    shape = [*latents.shape[:dim], more, *latents.shape[dim + 1 :]]
    return call | {"hidden_states": torch.cat([latents, torch.ones(shape)], dim=dim)}


def computing(kind: str) -> Any:
    return torch.autocast("cpu", torch.bfloat16) if kind == "autocast" else contextlib.nullcontext()


def check(kind: str, family: str, name: str) -> None:
    model, method, inputs = model_of(kind, family), method_named(family, name, STEPS), given(kind, family)
    predicted = method.plan(model, STEPS).cost(**options_for(family, 2, (16, 16)))
    with computing(kind):
        stock = run_steps(model, inputs)
        with toca.cached(model, method, num_inference_steps=STEPS):
            got = run_steps(model, inputs[:-1])
            held, said = held_bytes(model), toca.summary(model).cache_bytes
            got += run_steps(model, inputs[-1:])
    assert torch.equal(got[0], stock[0])
    assert [output.dtype for output in got] == [output.dtype for output in stock]
    assert all(relative_error(output.float(), want.float()) < 2 for output, want in zip(got, stock, strict=True))
    assert held == said
    # Only who knows what autocast makes of each operation could say more of it beforehand.
    assert held == predicted.cache_bytes if kind != "autocast" else held <= predicted.cache_bytes


@pytest.mark.parametrize(("kind", "family", "name"), CHOSEN)
def test_kinds_of_weights(kind: str, family: str, name: str) -> None:
    check(kind, family, name)


@pytest.mark.matrix
@pytest.mark.parametrize(("kind", "family", "name"), [case for case in CASES if case not in CHOSEN])
def test_all_kinds_of_weights(kind: str, family: str, name: str) -> None:
    check(kind, family, name)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_filled_prediction_moves_with_the_latents_that_it_is_of(family: str) -> None:
    """More channels in than out: EasyCache's step is the last output, and the way that these channels have gone."""
    model, inputs, dim = model_of("wide", family), given("wide", family), 2 if family == "flux" else 1
    got = cached_run(model, toca.methods()["easycache"](threshold=1e9, warmup_steps=2), inputs)
    stock, channels = run_steps(model, inputs), got[0].shape[dim]

    def latents(step: int) -> Tensor:
        return inputs[step]["hidden_states"].narrow(dim, 0, channels)

    assert_equal(got[:2] + got[-1:], stock[:2] + stock[-1:])
    assert_close(got[2:-1], [stock[1] + latents(step) - latents(1) for step in range(2, STEPS - 1)], 1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_bytes_under_autocast_are_those_of_its_dtype(family: str) -> None:
    model, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=2)
    plan = toca.FORA(interval=2).plan(model, STEPS)
    with computing("autocast"), toca.cached(model, plan, num_inference_steps=STEPS):
        run_steps(model, inputs[:-1])
        held = held_bytes(model)
    assert held == plan.cost(**options_for(family, 2, (16, 16)), dtype=torch.bfloat16).cache_bytes
