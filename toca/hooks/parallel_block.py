"""Blocks whose attention and feed-forward run side by side into one output projection (FLUX single-stream).

The attention inside is a site of its own, reached through its processor; this site keeps the fused output before the
gate. A partial action runs the feed-forward branch and the output projection on the chosen tokens only.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch import nn

from ..kernels.rows import take_rows
from ..models.parallel_block import Entered, ParallelBlock
from .classes import HANDLE, Function, Maker
from .handle import Handle


@functools.cache
def make_forward_with(pieces: ParallelBlock) -> Maker:
    """A maker of `forward` for blocks made of these pieces; the same one each time."""

    def make_forward(base: type[nn.Module]) -> Function:
        # As a function: diffusers allows the class in graphs as it is, so tracing cannot look up `base.forward` on it.
        stock = base.forward
        names = tuple(inspect.signature(stock).parameters)[1:]

        def forward(self: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor | tuple[torch.Tensor, ...]:
            handle: Handle | None = getattr(self, HANDLE, None)
            if handle is None or (handle.action == "compute" and not handle.keep):
                return stock(self, *args, **kwargs)
            call = {**dict(zip(names[: len(args)], args, strict=True)), **kwargs}
            entered = pieces.enter(self, call)
            outputs = pieces.leave(entered, _fused_output(self, handle, pieces, entered, call))
            return _dense(outputs) if handle.dense else outputs

        vars(forward)["__signature__"] = inspect.signature(stock)
        return forward

    return make_forward


def _dense(outputs: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor | tuple[torch.Tensor, ...]:
    if isinstance(outputs, torch.Tensor):
        return outputs.contiguous()
    return tuple(output.contiguous() for output in outputs)


def _fused_output(
    block: nn.Module, handle: Handle, pieces: ParallelBlock, entered: Entered, call: dict[str, Any]
) -> torch.Tensor:
    if handle.action in ("reuse", "forecast"):
        return handle.filled()
    attention = pieces.attend(block, entered, call)
    if handle.action == "compute":
        return handle.kept(pieces.mix(block, entered.normed, attention))
    rows = take_rows(attention, handle.chosen())
    return handle.refreshed(pieces.mix(block, handle.picked(entered.normed), rows))
