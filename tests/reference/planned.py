"""LeMiCa, BudCache, SCM and MeanCache with full steps by number, each as plainly as its rule is stated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from . import static
from .patching import blocks_of, samples, visited_blocks


def run_stack_residual(transformer: nn.Module, inputs: list[dict[str, Any]], full: Collection[int]) -> list[Tensor]:
    """The sample of every call; in steps that are not full what all blocks added in the last full one is added."""
    last = len(blocks_of(transformer)) - 1
    entered: list[tuple[Tensor, ...]] = []
    added: list[tuple[Tensor, ...]] = []
    now = {"step": 0}
    latents = inputs[0]["hidden_states"]

    def visit(layer: int, streams: tuple[Tensor, ...], compute: Callable) -> tuple[Tensor, ...]:
        is_full = now["step"] in full
        if layer == 0:
            entered.append(streams)
        left = compute() if is_full else streams
        if layer < last:
            return left
        start = entered[-1]
        if latents.ndim == 5:  # Latte's last block has frames for tokens, its first one has tokens
            start = tuple(static._rearranged(stream, len(latents)) for stream in start)
        if is_full:
            added.append(tuple(a - b for a, b in zip(left, start, strict=True)))
        return tuple(a + b for a, b in zip(start, added[-1], strict=True))

    with visited_blocks(transformer, visit):
        return samples(transformer, inputs, lambda step: now.update(step=step))


def run_mean_velocity(
    velocity: Callable[[int, np.ndarray], np.ndarray],
    start: np.ndarray,
    sigmas: Sequence[float],
    look_back: Mapping[int, int],
) -> list[np.ndarray]:
    """The output of every step of a generation by Euler's rule.

    `look_back` has a K for each full step; sigmas has one more than there are steps, 0.
    """
    x, history, K = start, [], 1
    for s, (sigma, after) in enumerate(zip(sigmas, sigmas[1:], strict=False)):
        if s in look_back:
            v, K = velocity(s, x), look_back[s]
        else:
            sigma_r, x_r, v_r = history[-min(K, len(history))]
            mean = (x - x_r) / (sigma - sigma_r)
            jvp = (v_r - mean) / (sigma - sigma_r)
            v = history[-1][2] - jvp * (after - sigma)
        history.append((sigma, x, v))
        x = x + (after - sigma) * v
    return [v for _, _, v in history]
