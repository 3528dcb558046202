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
        rehearsed (`Callable` or `None`): Called when the block has run once only to be looked at; it decides what the
            block does then.
        again (`Callable` or `None`): Called after the block with a function that runs it once more on the same.
        calls (`int`): How often the block has been called in the pass.
    """

    def __init__(self) -> None:
        self.bypass()

    def bypass(self) -> None:
        """Run, and watch nothing."""
        self.calls = 0
        self.decide(True)

    def decide(self, run: bool) -> None:
        """Run or do not, and watch nothing. The lists are new ones: those of before may be under way."""
        self.run = run
        self.entering: list[Callable[[Streams], Streams]] = []
        self.leaving: list[Callable[[Streams], Streams]] = []
        self.rehearsed: Callable[[], Any] | None = None
        self.again: Callable[[Callable[[], Streams]], None] | None = None

    @property
    def only_runs(self) -> bool:
        """Whether there is nothing to do but to run the block."""
        return self.run and not (self.entering or self.leaving or self.rehearsed or self.again)


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
            if handle is None or handle.only_runs:
                return stock(self, *args, **kwargs)
            call = {**dict(zip(names[: len(args)], args, strict=True)), **kwargs}
            values = turned(tuple(call[name] for name in streams))

            def run(values: Streams) -> Streams:
                outputs = stock(self, **{**call, **dict(zip(streams, turned(values), strict=True))})
                return turned(outputs if isinstance(outputs, tuple) else (outputs,))

            values = turned(_through(handle, run, values))
            return values if len(streams) > 1 else values[0]

        return call_block

    return make_call


def _through(handle: BlockHandle, run: Callable[[Streams], Streams], values: Streams) -> Streams:
    """What leaves a block, or what is put in its place.

    Args:
        handle (`BlockHandle`): Its decision, which is a new one after a rehearsal.
        run (`Callable`): `streams -> streams`, the block.
        values (`tuple`): The streams that enter it.
    """
    if handle.rehearsed is not None:
        run(values)
        handle.rehearsed()
    for watch in handle.entering:
        values = watch(values)
    left = run(values) if handle.run else values
    if handle.again is not None:
        handle.again(functools.partial(run, values))
    for watch in handle.leaving:
        left = watch(left)
    return left
