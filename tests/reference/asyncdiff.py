"""AsyncDiff on any family, as plainly as its rule is stated: from step w on, what enters a component of the model is
what the one before it made in the step before. One device, one component after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from .patching import samples, visited_blocks

Streams = tuple[Tensor, ...]


def run_asyncdiff(
    transformer: nn.Module,
    calls: list[dict[str, Any]],
    *,
    cuts: Sequence[int],
    w: int,
    adds: bool = False,
    line: bool = False,
) -> list[Tensor]:
    """The samples of all steps.

    Args:
        transformer (`nn.Module`): The model.
        calls (`list`): Its arguments, step by step.
        cuts (`Sequence[int]`): The layers with which components begin, but for the first.
        w (`int`): Steps that run as always.
        adds (`bool`): Whether what a component added a step ago is added to what enters it now.
        line (`bool`): Whether the component's last two outputs are drawn on by a step.
    """
    made: dict[int, list[Streams]] = {cut: [] for cut in cuts}
    entered: dict[int, Streams] = {}
    begins = {cut: before for before, cut in zip((0, *cuts), cuts, strict=False)}
    now = {"step": 0}

    def visit(layer: int, streams: Streams, compute: Callable[[], Streams]) -> Streams:
        entered[layer] = streams
        left, cut = compute(), layer + 1
        if cut not in begins:
            return left
        start = entered[begins[cut]]
        made[cut].append(_each(lambda a, b: a - b, left, start) if adds else left)
        if now["step"] < w:
            return left
        old = made[cut][now["step"] - 1]
        if line:
            old = _each(lambda a, b: a + (a - b), old, made[cut][now["step"] - 2])
        return _each(lambda a, b: a + b, start, old) if adds else old

    with visited_blocks(transformer, visit):
        return samples(transformer, calls, lambda step: now.update(step=step))


def _each(function: Callable[[Tensor, Tensor], Tensor], one: Streams, other: Streams) -> Streams:
    return tuple(function(a, b) for a, b in zip(one, other, strict=True))
