"""Whole blocks: left out, or watched at their ends, as the block's handle says.

This happens in `__call__`, outside what `block.compile()` compiles: what is watched differs from step to step.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from .classes import BLOCK, Function, Maker

Streams = tuple[Any, ...]


class BlockHandle:
    """The frozen decision of one block for the running call.

    Attributes:
        run (`bool`): Whether the block runs; else its streams go through unchanged.
        entering (`list[Callable]`): `streams -> streams`, called before the block in order.
        leaving (`list[Callable]`): The same after it.
        calls (`int`): How often the block has been called in the pass.
    """

    def __init__(self) -> None:
        self.bypass()

    def bypass(self) -> None:
        """Run, and watch nothing."""
        self.run, self.calls = True, 0
        self.entering: list[Callable[[Streams], Streams]] = []
        self.leaving: list[Callable[[Streams], Streams]] = []


@functools.cache
def make_call_with(streams: tuple[str, ...], tokens_first: bool = False) -> Maker:
    """A maker of `__call__` for blocks with these streams; the same one each time. Who watches sees (rows, tokens, C)
    also of blocks that work on (tokens, rows, C)."""

    def make_call(base: type[nn.Module]) -> Function:
        stock = base.__call__
        names = tuple(inspect.signature(base.forward).parameters)[1:]

        def turned(values: Streams) -> Streams:
            return tuple(value.transpose(0, 1) for value in values) if tokens_first else values

        def call_block(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            handle: BlockHandle | None = getattr(self, BLOCK, None)
            if handle is not None:
                handle.calls += 1
            if handle is None or (handle.run and not handle.entering and not handle.leaving):
                return stock(self, *args, **kwargs)
            call = {**dict(zip(names[: len(args)], args, strict=True)), **kwargs}
            values = turned(tuple(call[name] for name in streams))
            for watch in handle.entering:
                values = watch(values)
            if handle.run:
                outputs = stock(self, **{**call, **dict(zip(streams, turned(values), strict=True))})
                values = turned(outputs if isinstance(outputs, tuple) else (outputs,))
            for watch in handle.leaving:
                values = watch(values)
            values = turned(values)
            return values if len(streams) > 1 else values[0]

        return call_block

    return make_call
