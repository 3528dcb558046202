"""Weights for tiny models that leave no part idle."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

PEAKED = ("to_q", "to_k", "add_q_proj", "add_k_proj", "to_query", "to_key")
"""Layers with a double gain, so that attention maps are far from uniform."""


def waken(model: nn.Module, seed: int = 0) -> nn.Module:
    """Draw every weight anew: unit gain for layers, scales of norms near one, and nothing zero or uninitialised, so
    that all gates are open and every site shows in the output.

    The global generator is left alone.
    """
    generator = torch.Generator().manual_seed(seed)
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data.copy_(_scaled(noise, path, name, module))
    return model.requires_grad_(False).eval()


def _scaled(noise: Tensor, path: str, name: str, module: nn.Module) -> Tensor:
    if noise.ndim < 2:
        return 1 + 0.1 * noise if name == "weight" and "Norm" in type(module).__name__ else 0.2 * noise
    if "table" in name or "modulation" in name:
        return 0.5 * noise
    gain = 2.0 if any(part in path for part in PEAKED) else 1.0
    return gain * noise / math.sqrt(noise[0].numel())
