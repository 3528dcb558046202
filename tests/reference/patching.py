"""Stock transformers with some modules put aside, for methods that keep what whole modules or blocks return.

The stock forward runs as it is; in the place of each module or block stands a function that may call it or not.
Independent of the toca package, which is to be compared with it.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

Visit = Callable[[int, str, Callable[[], Any]], Any]
"""`(layer, kind, compute) -> output` of a module, `kind` one of spatial, temporal, cross, ff, ff_context, fused."""
VisitBlock = Callable[[int, tuple[Tensor, ...], Callable[[], Any]], tuple[Tensor, ...]]
"""`(layer, streams that enter, compute) -> streams that leave`."""


def blocks_of(transformer: nn.Module) -> list[nn.Module]:
    """All blocks in the order in which they run."""
    first = list(transformer.transformer_blocks)
    if hasattr(transformer, "temporal_transformer_blocks"):
        pairs = zip(first, transformer.temporal_transformer_blocks, strict=True)
        return [block for pair in pairs for block in pair]
    return [*first, *getattr(transformer, "single_transformer_blocks", [])]


def modules_of(transformer: nn.Module, layer: int) -> dict[str, nn.Module]:
    """The modules of a block by kind."""
    block = blocks_of(transformer)[layer]
    temporal = hasattr(transformer, "temporal_transformer_blocks") and layer % 2 == 1
    found = {
        "temporal" if temporal else "spatial": getattr(block, "attn1", None) or getattr(block, "attn", None),
        "cross": getattr(block, "attn2", None),
        "ff": getattr(block, "ff", None),
        "ff_context": getattr(block, "ff_context", None),
        # What a parallel block adds before its gate is what its output projection returns.
        "fused": getattr(block, "proj_out", None),
    }
    return {kind: module for kind, module in found.items() if module is not None}


@contextlib.contextmanager
def visited(transformer: nn.Module, visit: Visit) -> Iterator[None]:
    """Every module's forward asks `visit`."""
    modules = [
        (layer, kind, module)
        for layer in range(len(blocks_of(transformer)))
        for kind, module in modules_of(transformer, layer).items()
    ]
    for layer, kind, module in modules:

        def forward(*args: Any, stock: Any = module.forward, place: tuple = (layer, kind), **kwargs: Any) -> Any:
            return visit(*place, lambda: stock(*args, **kwargs))

        module.forward = forward
    try:
        yield
    finally:
        for _, _, module in modules:
            del module.forward


@contextlib.contextmanager
def visited_blocks(transformer: nn.Module, visit: VisitBlock) -> Iterator[None]:
    """Every block's forward asks `visit`."""
    blocks = blocks_of(transformer)
    names = ("encoder_hidden_states", "hidden_states") if hasattr(transformer, "x_embedder") else ("hidden_states",)
    for layer, block in enumerate(blocks):

        def forward(*args: Any, stock: Any = block.forward, layer: int = layer, **kwargs: Any) -> Any:
            given = inspect.signature(stock).bind(*args, **kwargs).arguments

            def compute() -> tuple[Tensor, ...]:
                output = stock(*args, **kwargs)
                return output if isinstance(output, tuple) else (output,)

            left = visit(layer, tuple(given[name] for name in names), compute)
            return left if len(names) > 1 else left[0]

        block.forward = forward
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def samples(transformer: nn.Module, calls: list[dict[str, Any]], before: Callable[[int], None]) -> list[Tensor]:
    """Run the calls; `before(step)` is told of each."""
    outputs = []
    with torch.no_grad():
        for step, call in enumerate(calls):
            before(step)
            outputs.append(transformer(**call).sample)
    return outputs
