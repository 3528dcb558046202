"""How far a module's output is from its own of some steps earlier: what SmoothCache needs."""

from __future__ import annotations

import itertools
import operator
from collections import deque
from collections.abc import Hashable, Iterator
from functools import partial, reduce
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ..models import FamilySpec, walk_blocks
from .gauges import Gauge, Means
from .reading import maker_of, streams_of

Streams = tuple[torch.Tensor, ...]


class LagErrors(Gauge):
    """For each kind of module the curve `stack.module`, a row of `max_lag` numbers a step.

    At place k - 1 in step s: `sum |x_s - x_(s-k)| / sum |x_s|`, mean over the blocks and the samples, x what a cache
    keeps of the module; 0 where there is no step s - k.

    Args:
        max_lag (`int`): The largest k.
    """

    def __init__(self, max_lag: int):
        self.max_lag = max_lag
        self.errors = Means()
        self.names: dict[str, None] = {}
        self.before: dict[Hashable, deque[tuple[int, Streams]]] = {}

    def attach(self, transformer: nn.Module, spec: FamilySpec) -> Iterator[RemovableHandle]:
        for layer, _, _, block, block_spec in walk_blocks(transformer, spec):
            makers: dict[nn.Module, list[str]] = {}
            for site in block_spec.sites:
                makers.setdefault(maker_of(block, site), []).append(curve_name(block_spec.stack, site.module))
            for maker, names in makers.items():
                self.names |= dict.fromkeys(names)
                # A block may call a module several times, of which each call is a kind of its own.
                yield maker.register_forward_hook(partial(self._note, itertools.cycle(names), layer))

    def _note(self, names: Iterator[str], layer: int, module: nn.Module, args: tuple, output: Any) -> None:
        name, now, call = next(names), streams_of(output), self.call
        before = self.before.setdefault((call.branch, name, layer), deque(maxlen=self.max_lag))
        for step, streams in before:
            self.errors.add((name, call.step, call.step - step), relative_change(now, streams, call.shape.batch))
        before.append((call.step, now))

    def forget(self) -> None:
        self.before.clear()

    def curves(self, num_inference_steps: int) -> dict[str, list]:
        lags, steps = range(1, self.max_lag + 1), range(num_inference_steps)
        return {name: [[self.errors.get((name, s, k), 0.0) for k in lags] for s in steps] for name in self.names}


def curve_name(stack: str, module: str) -> str:
    """The curve of a kind of module."""
    return f"{stack}.{module}"


def relative_change(now: Streams, before: Streams, samples: int) -> torch.Tensor:
    """`sum |now - before| / sum |now|` over all streams of each sample, (samples,), float32."""
    changed = (_size(a.float() - b.float(), samples) for a, b in zip(now, before, strict=True))
    whole = (_size(stream.float(), samples) for stream in now)
    return reduce(operator.add, changed) / reduce(operator.add, whole)


def _size(tensor: torch.Tensor, samples: int) -> torch.Tensor:
    """(rows, ...) -> (samples,); the rows of a sample follow each other."""
    return tensor.abs().reshape(samples, -1).sum(dim=1)
