"""What the linear and convolution layers below a module cost, and how wide they are. No weight is touched."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def in_path(module: nn.Module, path: str) -> nn.Module:
    """The submodule at a path; the module itself for an empty one."""
    return module.get_submodule(path)


def linear_flops(module: nn.Module) -> int:
    """FLOPs (two a multiply-add) of all linear and convolution layers below `module` for one token: for a convolution
    one place of its output, for a transposed one of its input."""
    return sum(_flops(child) for child in module.modules())


def _flops(layer: nn.Module) -> int:
    if isinstance(layer, CONVOLUTIONS):
        return 2 * layer.in_channels * layer.out_channels * math.prod(layer.kernel_size) // layer.groups
    linear = hasattr(layer, "in_features") and hasattr(layer, "out_features") and not isinstance(layer, nn.Embedding)
    return 2 * in_features(layer) * out_features(layer) if linear and _is_innermost(layer) else 0


def _is_innermost(module: nn.Module) -> bool:
    # Wrappers such as PEFT's repeat the features of the layer inside them, which is counted by itself.
    return not any(hasattr(child, "in_features") for child in module.children())


def first_width(module: nn.Module) -> int:
    """Numbers that the first linear or convolution layer below `module` reads for a token."""
    first = next(m for m in module.modules() if hasattr(m, "in_features") or isinstance(m, CONVOLUTIONS))
    if isinstance(first, CONVOLUTIONS):
        return first.in_channels * math.prod(first.kernel_size)
    return in_features(first)


def last_width(module: nn.Module) -> int:
    """Channels that the last linear or convolution layer below `module` makes of a token; a transposed convolution
    makes several places of it."""
    last = [m for m in module.modules() if hasattr(m, "out_features") or isinstance(m, CONVOLUTIONS)][-1]
    if not isinstance(last, CONVOLUTIONS):
        return out_features(last)
    return last.out_channels * (math.prod(last.stride) if last.transposed else 1)


def in_features(linear: nn.Module) -> int:
    """Channels that a linear layer reads."""
    return cast(int, linear.in_features)


def out_features(linear: nn.Module) -> int:
    """Channels that a linear layer makes."""
    return cast(int, linear.out_features)


def weight_flops(module: nn.Module) -> int:
    """FLOPs of a product with the parameter `weight` of a module that is no linear layer: random features of a
    timestep."""
    return 2 * cast(torch.Tensor, module.weight).numel()
