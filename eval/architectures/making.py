"""Models with random weights, from an architecture's data, made where and in the precision in which they are used."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import diffusers
import torch
import transformers
from torch import nn

from toca.eval.architectures import Component


def make_random(component: Component, scale: float, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A component of an architecture at a scale, with random weights."""
    return with_random_weights(lambda: _make(component, scale), device, dtype)


def with_random_weights(make: Callable[[], nn.Module], device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The model that `make` makes, with the default initialisation from one seed, made on the device in its dtype.

    Tables that a model makes in a precision of its own (rotary frequencies) keep it, as they do in a loaded one.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), _default_dtype(dtype), torch.device(device):
        torch.manual_seed(0)
        return make().requires_grad_(False).eval()


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """What is made inside is of that dtype, unless it says otherwise."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _make(component: Component, scale: float) -> nn.Module:
    config = component.config_at(scale)
    if hasattr(diffusers, component.class_name):
        return getattr(diffusers, component.class_name)(**config)
    text_model = getattr(transformers, component.class_name)
    return text_model(text_model.config_class(**config))


def compile_all(transformer: Any, classes: Sequence[str]) -> None:
    """Compile the blocks of a transformer, those of these classes, each without a break in its graph."""
    transformer._repeated_blocks = list(classes)
    transformer.compile_repeated_blocks(fullgraph=True)
