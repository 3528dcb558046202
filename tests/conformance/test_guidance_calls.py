"""Further calls of guidance in which layers are left out: they run in full, and no other branch notices."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from diffusers.hooks import HookRegistry, LayerSkipConfig
from diffusers.hooks.layer_skip import _apply_layer_skip_hook
from torch import Tensor, nn

import toca

from ..helpers import TINY, inputs_for
from .common import assert_equal
from .test_arguments import method_named, warnings

STEPS = 6
SKIPS = {
    "blocks": {"skip_attention": True, "skip_ff": True},
    "feed-forward": {"skip_attention": False, "skip_ff": True},
}


@contextlib.contextmanager
def layers_skipped(model: nn.Module, **what: bool) -> Iterator[None]:
    """What diffusers' skip-layer guider does around their further call."""
    config = LayerSkipConfig(indices=[1], fqn="transformer_blocks", **what)
    _apply_layer_skip_hook(model, config, name="guider")
    try:
        yield
    finally:
        HookRegistry.check_if_exists_or_initialize(model).remove_hook("guider", recurse=True)


class Passing(nn.Module):
    """In a block's place: the block twice, or not at all."""

    def __init__(self, block: nn.Module, times: int):
        super().__init__()
        self.__dict__["block"], self.times = block, times

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        hidden_states = args[0] if args else kwargs.pop("hidden_states")
        text = kwargs.pop("encoder_hidden_states", None)
        for _ in range(self.times):
            output = self.block(hidden_states, *args[1:], encoder_hidden_states=text, **kwargs)
            text, hidden_states = output if isinstance(output, tuple) else (text, output)
        return (text, hidden_states) if self.joint else hidden_states


@contextlib.contextmanager
def called(model: nn.Module, layer: int, times: int) -> Iterator[None]:
    block = model.transformer_blocks[layer]
    model.transformer_blocks[layer] = Passing(block, times)
    model.transformer_blocks[layer].joint = "Flux" in type(model).__name__
    try:
        yield
    finally:
        model.transformer_blocks[layer] = block


def three_branches(model: nn.Module, inputs: list[Any], further: Callable[[], Any]) -> list[list[Tensor]]:
    """Each step as a guider runs it: two branches, and a third with layers left out."""
    outputs: list[list[Tensor]] = [[], [], []]
    with torch.no_grad():
        for cond, uncond in zip(*inputs, strict=True):
            for place, name, call, around in (
                (0, "pred_cond", cond, contextlib.nullcontext()),
                (1, "pred_uncond", uncond, contextlib.nullcontext()),
                (2, "pred_cond_skip", cond, further()),
            ):
                with model.cache_context(name), around:
                    outputs[place].append(model(**call).sample)
    return outputs


def check(name: str, further: Callable[[nn.Module], Any]) -> None:
    model, method = TINY["flux"](), method_named("flux", name, STEPS)
    inputs = [inputs_for("flux", STEPS, seed=seed) for seed in (1, 2)]
    stock_model = TINY["flux"]()
    stock = three_branches(stock_model, inputs, lambda: further(stock_model))
    with toca.cached(model, method, num_inference_steps=STEPS):
        wanted = three_branches(model, inputs, contextlib.nullcontext)
    with toca.cached(model, method, num_inference_steps=STEPS):
        got = three_branches(model, inputs, lambda: further(model))
    assert_equal(got[0] + got[1], wanted[0] + wanted[1])
    assert_equal(got[2], stock[2])


# Whole blocks only for methods that leave the blocks' classes alone: diffusers looks a class up by its own name.
SKIPPED = [(name, skip) for name in ("toca", "fora", "taylorseer") for skip in SKIPS]
SKIPPED += [(name, "feed-forward") for name in ("teacache", "fbcache", "dicache", "easycache", "speca")]


@pytest.mark.parametrize(("name", "skip"), SKIPPED)
def test_skip_layer_guidance(name: str, skip: str, caplog: pytest.LogCaptureFixture) -> None:
    check(name, lambda model: layers_skipped(model, **SKIPS[skip]))
    assert len(warnings(caplog)) == 1 and "skip-layer" in warnings(caplog)[0]


@pytest.mark.parametrize("times", [0, 2])
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("name", ["fbcache", "teacache", "dicache", "easycache", "speca", "delta-dit", "clusca"])
def test_a_block_that_is_not_called_or_called_twice(
    name: str, layer: int, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    check(name, lambda model: called(model, layer, times))
    assert any("not called, or called twice" in warning for warning in warnings(caplog))
