"""How far each site goes on along its last course, and how it changes from step to step: what ScalingCache needs."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Hashable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ..models import FamilySpec, walk_blocks
from .gauges import Gauge, Means, rounded
from .lag_errors import Streams, relative_change
from .reading import maker_of, streams_of

ERROR = "error"


class Slopes(Gauge):
    """The curve `error`, and for each site the curve `layer.module`, a row of `max_lag` numbers a step.

    `error`: `sum |y_s - y_(s-1)| / sum |y_s|`, mean over the sites and the samples; 0 in step 0. At place k - 1 of a
    row in step s: the alpha with which `alpha k D` comes nearest to `y_s - y_(s-k)`, by least squares over all
    samples, D the slope up to step s - k over the k + 1 steps before it: the shortest gap after which k steps are
    filled. In steps that have no such past it is the next one's, and 0 where no step has.

    Args:
        max_lag (`int`): The largest k.
    """

    def __init__(self, max_lag: int):
        self.max_lag = max_lag
        self.errors = Means()
        self.products: dict[tuple[str, int, int], torch.Tensor] = {}
        self.names: dict[str, None] = {}
        self.before: dict[Hashable, deque[Streams]] = {}

    def attach(self, transformer: nn.Module, spec: FamilySpec) -> Iterator[RemovableHandle]:
        for layer, _, _, block, block_spec in walk_blocks(transformer, spec):
            makers: dict[nn.Module, list[str]] = {}
            for site in block_spec.sites:
                makers.setdefault(maker_of(block, site), []).append(f"{layer}.{site.module}")
            for maker, names in makers.items():
                self.names |= dict.fromkeys(names)
                # A block may call a module several times, of which each call is a site of its own.
                yield maker.register_forward_hook(partial(self._note, itertools.cycle(names)))

    def _note(self, names: Iterator[str], module: nn.Module, args: tuple, output: Any) -> None:
        name, now, call = next(names), streams_of(output), self.call
        before = self.before.setdefault((call.branch, name), deque(maxlen=2 * self.max_lag + 1))
        if before:
            self.errors.add(call.step, relative_change(now, before[-1], call.shape.batch))
        for k in range(1, self.max_lag + 1):
            if len(before) > 2 * k:
                self._add((name, call.step, k), now, before[-k], before[-2 * k - 1])
        before.append(now)

    def _add(self, key: tuple[str, int, int], now: Streams, last: Streams, older: Streams) -> None:
        """Take in how far a site has gone, and how far along its slope it would have."""
        k, products = key[2], []
        for stream, y, start in zip(now, last, older, strict=True):
            line = (y.float() - start.float()) * (k / (k + 1))
            gone = stream.float() - y.float()
            products.append(torch.stack([(gone * line).sum(), (line * line).sum()]))
        total = torch.stack(products).sum(dim=0)
        self.products[key] = self.products[key] + total if key in self.products else total

    def forget(self) -> None:
        self.before.clear()

    def curves(self, num_inference_steps: int) -> dict[str, list]:
        steps = range(num_inference_steps)
        rows = {name: [self._alphas(name, k, num_inference_steps) for k in self._lags] for name in self.names}
        return {
            ERROR: [self.errors.get(step, 0.0) for step in steps],
            **{name: [list(row) for row in zip(*alphas, strict=True)] for name, alphas in rows.items()},
        }

    @property
    def _lags(self) -> range:
        return range(1, self.max_lag + 1)

    def _alphas(self, name: str, k: int, num_inference_steps: int) -> list[float]:
        """Of every step, from the last to the first: where one has none it takes the next one's."""
        alphas, alpha = [], 0.0
        for step in reversed(range(num_inference_steps)):
            product = self.products.get((name, step, k))
            if product is not None:
                gone, whole = product.tolist()
                alpha = rounded(gone / whole) if whole > 0 else 0.0
            alphas.append(alpha)
        return alphas[::-1]
