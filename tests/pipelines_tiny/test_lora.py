"""LoRA adapters, put on before the cache and while it is on: they exchange linear layers within what is cached."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch

import toca
from toca.eval.counting.flops import FlopMeter

from . import STYLES
from .style import transformers_of

NAMES = ("flux-true-guidance", "sd3", "wan")
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "proj_mlp", "proj_out", "net.2", "norm.linear"]


def with_adapter(pipe: Any) -> Any:
    """The pipeline with an adapter whose matrices are far from zero."""
    for transformer in transformers_of(pipe):
        transformer.add_adapter(peft.LoraConfig(r=2, lora_alpha=4, target_modules=TARGETS))
        generator = torch.Generator().manual_seed(0)
        for name, parameter in transformer.named_parameters():
            if "lora_" in name:
                parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        transformer.requires_grad_(False).eval()
    return pipe


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_from_before(name: str) -> None:
    style = STYLES[name]
    plain = style.generate(style.cacheable()[0])
    pipe = with_adapter(style.cacheable()[0])
    stock = style.generate(pipe)
    assert not torch.equal(stock, plain)
    with toca.cached(pipe, toca.FORA(interval=1)):
        assert torch.equal(style.generate(pipe), stock)
    with toca.cached(pipe, toca.FORA(interval=2)):
        with FlopMeter() as meter:
            assert not torch.equal(style.generate(pipe), stock)
        assert toca.summary(pipe).flops == meter.total
    assert torch.equal(style.generate(pipe), stock)


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_that_comes_and_goes(name: str) -> None:
    """While the cache is on; each generation takes it up, and what was kept without it is forgotten."""
    style = STYLES[name]
    pipe, other = style.cacheable()[0], with_adapter(style.cacheable()[0])
    stock = style.generate(pipe)
    with toca.cached(other, toca.FORA(interval=2)):
        wanted = style.generate(other)
    with toca.cached(pipe, toca.FORA(interval=2)):
        plain = style.generate(pipe)
        with_adapter(pipe)
        assert torch.equal(style.generate(pipe), wanted)
        for transformer in transformers_of(pipe):
            transformer.delete_adapters("default")
        assert torch.equal(style.generate(pipe), plain)
    assert torch.equal(style.generate(pipe), stock)
