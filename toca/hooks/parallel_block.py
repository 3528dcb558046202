"""Blocks whose attention and feed-forward run side by side into one output projection (FLUX single-stream).

The attention inside is a site of its own, reached through its processor; this site keeps the fused output before the
gate. A partial action runs the feed-forward branch and the output projection on the chosen tokens only.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from ..kernels.rows import take_rows
from .classes import HANDLE


@functools.cache
def make_forward_with(pieces: Any) -> Callable[[type], Callable]:
    """A maker of `forward` for blocks made of these pieces; the same one each time."""

    def make_forward(base: type) -> Callable:
        # As a function: diffusers allows the class in graphs as it is, so tracing cannot look up `base.forward` on it.
        stock = base.forward
        names = tuple(inspect.signature(stock).parameters)[1:]

        def forward(self, *args, **kwargs):
            handle = getattr(self, HANDLE, None)
            if handle is None or (handle.action == "compute" and not handle.keep):
                return stock(self, *args, **kwargs)
            call = {**dict(zip(names[: len(args)], args, strict=True)), **kwargs}
            entered = pieces.enter(self, call)
            outputs = pieces.leave(entered, _fused_output(self, handle, pieces, entered, call))
            return tuple(output.contiguous() for output in outputs) if handle.dense else outputs

        forward.__signature__ = inspect.signature(stock)
        return forward

    return make_forward


def _fused_output(block, handle, pieces, entered, call):
    if handle.action in ("reuse", "forecast"):
        return handle.filled()
    attention = pieces.attend(block, entered, call)
    if handle.action == "compute":
        return handle.kept(pieces.mix(block, entered.normed, attention))
    rows = take_rows(attention, handle.chosen())
    return handle.refreshed(pieces.mix(block, handle.picked(entered.normed), rows))
