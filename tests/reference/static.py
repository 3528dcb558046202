"""PAB, T-GATE, Delta-DiT, BlockDance, FasterCache, TaylorSeer and HiCache on any family, each as plainly as its rule
is stated. Notes, sections 3 and 4.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .patching import blocks_of, samples, visited, visited_blocks
from .taylor import Basis, History, forecast, full_steps, power

Inputs = list[dict[str, Any]]
ATTENTION = ("spatial", "temporal", "cross")


def run_pab(
    transformer: nn.Module,
    inputs: Inputs,
    timesteps: list[float],
    *,
    ranges: dict[str, int],
    window: tuple[float, float],
) -> list[Tensor]:
    """Each kind of attention counts its calls and broadcasts within the window; kinds without a range do not."""
    kept: dict[tuple, Any] = {}
    counts: dict[tuple, int] = {}
    now = {"step": 0}

    def visit(layer: int, kind: str, compute: Callable) -> Any:
        count = counts.get((layer, kind), 0)
        counts[layer, kind] = count + 1
        inside = window[0] < timesteps[now["step"]] < window[1]
        if kind not in ranges or not (count % ranges[kind] != 0 and inside):
            kept[layer, kind] = compute()
        return kept[layer, kind]

    with visited(transformer, visit):
        return samples(transformer, inputs, lambda step: now.update(step=step))


def run_fastercache(transformer: nn.Module, inputs: Inputs, *, first_call: int = 7) -> list[Tensor]:
    """From `first_call` on, every second call of an attention goes on from the two before it."""
    computed: dict[tuple, list] = {}
    now = {"call": 0}

    def visit(layer: int, kind: str, compute: Callable) -> Any:
        if kind not in ATTENTION:
            return compute()
        values = computed.setdefault((layer, kind), [])
        if now["call"] in range(first_call, len(inputs) + 1, 2):
            weight = (now["call"] - 1) / (len(inputs) - 1)
            return _extrapolated(values[-2], values[-1], weight)
        values.append(compute())
        return values[-1]

    with visited(transformer, visit):
        return samples(transformer, inputs, lambda step: now.update(call=step + 1))


def _extrapolated(older: Any, newer: Any, weight: float) -> Any:
    if isinstance(newer, tuple):
        return tuple(_extrapolated(a, b, weight) for a, b in zip(older, newer, strict=True))
    return newer + (newer - older) * weight


def run_series(
    transformer: nn.Module, inputs: Inputs, *, N: int, order: int, k: int, basis: Basis = power
) -> list[Tensor]:
    """TaylorSeer, and on another basis HiCache: every module's output is forecast between full steps."""
    full = full_steps(len(inputs), N, k)
    known: dict[tuple, History] = {}
    now = {"step": 0}

    def visit(layer: int, kind: str, compute: Callable) -> Any:
        history = known.setdefault((layer, kind), [])
        if not full[now["step"]]:
            return forecast(history, now["step"], order, basis=basis)
        history.append((now["step"], compute()))
        return history[-1][1]

    with visited(transformer, visit):
        return samples(transformer, inputs, lambda step: now.update(step=step))


def run_delta_dit(transformer: nn.Module, inputs: Inputs, *, N: int, blocks: int, switch: int) -> list[Tensor]:
    """Between every N-th step the last blocks stand aside until step `switch`, and from then on the first ones; the
    difference that they made when they last ran is added in their place."""
    layers = len(blocks_of(transformer))
    rear, front = (layers - blocks, layers - 1), (0, blocks - 1)
    deltas: dict[tuple[int, int], tuple[Tensor, ...]] = {}
    entered: dict[tuple[int, int], tuple[Tensor, ...]] = {}
    now = {"step": 0}
    latents = inputs[0]["hidden_states"]

    def visit(layer: int, streams: tuple[Tensor, ...], compute: Callable) -> tuple[Tensor, ...]:
        aside = None if now["step"] % N == 0 else rear if now["step"] < switch else front
        inside = aside is not None and aside[0] <= layer <= aside[1]
        for span in {rear, front}:
            if layer == span[0]:
                entered[span] = streams
        left = streams if inside else compute()
        for span in {rear, front}:
            if layer != span[1]:
                continue
            start = entered[span]
            if latents.ndim == 5 and (span[1] - span[0]) % 2:
                start = tuple(_rearranged(stream, len(latents)) for stream in start)
            if span == aside:
                left = tuple(a + b for a, b in zip(start, deltas[span], strict=True))
            elif aside is None or set(range(span[0], span[1] + 1)).isdisjoint(range(aside[0], aside[1] + 1)):
                deltas[span] = tuple(a - b for a, b in zip(left, start, strict=True))
        return left

    with visited_blocks(transformer, visit):
        return samples(transformer, inputs, lambda step: now.update(step=step))


def run_blockdance(
    transformer: nn.Module, inputs: Inputs, *, blocks: int, g: int, start: float, end: float, w: int, c: int
) -> list[Tensor]:
    """In the window all but the first step of each group begin after the `blocks`-th block, with what left it then."""
    S, now = len(inputs), {"step": 0}
    first, stop = max(w, round(S * start)), min(S - c, round(S * end))
    kept: list[tuple[Tensor, ...]] = []

    def visit(layer: int, streams: tuple[Tensor, ...], compute: Callable) -> tuple[Tensor, ...]:
        late = now["step"] in range(first, stop) and (now["step"] - first) % g != 0
        left = streams if late and layer < blocks else compute()
        if layer == blocks - 1:
            left = kept[-1] if late else left
            kept.append(left)
        return left

    with visited_blocks(transformer, visit):
        return samples(transformer, inputs, lambda step: now.update(step=step))


def _rearranged(x: Tensor, videos: int) -> Tensor:
    """Latte: (videos x frames, tokens, C) to (videos x tokens, frames, C), or back."""
    return x.unflatten(0, (videos, -1)).transpose(1, 2).flatten(0, 1)


@contextlib.contextmanager
def tgate(
    transformer: nn.Module, *, m: int, k: int, k2: int, w: int, cond: int | None = None, branches: int = 1
) -> Iterator[None]:
    """T-GATE in the place of the transformer's forward, for one generation.

    Args:
        m, k, k2, w (`int`): Gate step, intervals before and after it, warm-up.
        cond (`int`, *optional*): Which half of the batch is the conditional branch; `None` without batched guidance.
        branches (`int`): Calls a step: 2 for the conditional branch and then the unconditional one.
    """
    stock, parameters = transformer.forward, inspect.signature(transformer.forward)
    kept: dict[tuple, Any] = {}
    now = {"calls": 0, "step": 0, "branch": 0}
    answers: list[Any] = []

    def visit(layer: int, kind: str, compute: Callable) -> Any:
        step, place = now["step"], (now["branch"], layer, kind)
        due = {"cross": step < m}.get(kind, _self_attention_is_due(step, m, k, k2, w))
        if kind not in ATTENTION or due:
            kept[place] = compute()
        return kept[place]

    def forward(*args: Any, **kwargs: Any) -> Any:
        call = dict(parameters.bind(*args, **kwargs).arguments)
        now["step"], now["branch"] = divmod(now["calls"], branches)
        now["calls"] += 1
        if now["step"] < m or (cond is None and branches == 1):
            return stock(**call)
        if now["branch"] == 1:
            return answers[-1]
        if now["step"] == m:
            for _, layer, kind in [place for place in kept if place[0] == 0]:
                mine, other = kept[0, layer, kind], kept.get((1, layer, kind))
                kept[0, layer, kind] = _mean_of_halves(mine) if branches == 1 else _mean(mine, other)
        if branches == 2:
            answers.append(stock(**call))
            return answers[-1]
        rows = call["hidden_states"].shape[0]
        output = stock(**{name: _half(value, rows, cond) for name, value in call.items()})
        if isinstance(output, tuple):
            return (torch.cat([output[0], output[0]]),)
        return type(output)(sample=torch.cat([output.sample, output.sample]))

    transformer.forward = forward
    try:
        with visited(transformer, visit):
            yield
    finally:
        del transformer.forward


def _self_attention_is_due(step: int, m: int, k: int, k2: int, w: int) -> bool:
    if step >= m:
        return step % k2 == 0
    return step <= w or step == m - 1 or step % k == 0


def _mean(a: Any, b: Any) -> Any:
    if isinstance(a, tuple):
        return tuple(_mean(x, y) for x, y in zip(a, b, strict=True))
    return (a + b) / 2


def _mean_of_halves(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_mean_of_halves(part) for part in value)
    first, second = value.chunk(2)
    return (first + second) / 2


def _half(value: Any, rows: int, half: int) -> Any:
    if isinstance(value, Tensor) and value.ndim and value.shape[0] == rows:
        return value.chunk(2)[half]
    if isinstance(value, dict):
        return {name: _half(part, rows, half) for name, part in value.items()}
    return value
