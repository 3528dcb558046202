"""Blocks whose attention and feed-forward run side by side into one output projection, in the pieces that a cache
runs one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch


class Entered(NamedTuple):
    """What a parallel block works with: the residual and the normalised stream (B, T, C), and the gate (B, 1, C), or
    (B, T, C) where the tokens are gated each in its own way."""

    residual: torch.Tensor
    normed: torch.Tensor
    gate: torch.Tensor
    text_tokens: int


@dataclass(frozen=True)
class ParallelBlock:
    """The pieces of a block whose attention and feed-forward run side by side into one output projection.

    Args:
        enter (`Callable`): `(block, call) -> Entered`.
        attend (`Callable`): `(block, Entered, call) -> attention output (B, T, C)`, before the output projection.
        mix (`Callable`): `(block, normed rows, attention rows) -> fused output rows`, before the gate; token-local.
        leave (`Callable`): `(Entered, fused output) -> what the block returns`.
    """

    enter: Callable[[Any, dict[str, Any]], Entered]
    attend: Callable[[Any, Entered, dict[str, Any]], torch.Tensor]
    mix: Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]
    leave: Callable[[Entered, torch.Tensor], torch.Tensor | tuple[torch.Tensor, ...]]
