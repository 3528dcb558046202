"""How the size of what all blocks add changes from step to step: what MagCache needs."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ..models import FamilySpec, walk_blocks
from ..models.shape import laid_out
from .gauges import Gauge, Means
from .reading import on_entering, on_leaving


class MagnitudeRatios(Gauge):
    """The curve `ratio`, a number a step: gamma_s, the mean over tokens and samples of |r_s| / |r_(s-1)|.

    r is what leaves the last block minus what enters the first, |r| its norm over the channels of a token. In step 0
    gamma is 1.
    """

    entered: torch.Tensor

    def __init__(self) -> None:
        self.ratios = Means()
        self.rows = ("", "")
        self.before: dict[Hashable, torch.Tensor] = {}

    def attach(self, transformer: nn.Module, spec: FamilySpec) -> Iterator[RemovableHandle]:
        (*_, first), *_, (*_, last) = walk_blocks(transformer, spec)
        self.rows = first.rows, last.rows
        yield on_entering(transformer, spec, self.shape, self._enter)
        yield on_leaving(transformer, spec, self.shape, self._leave)

    def _enter(self, hidden_states: torch.Tensor) -> None:
        self.entered = hidden_states

    def _leave(self, hidden_states: torch.Tensor) -> None:
        call = self.call
        residual = hidden_states - laid_out(self.entered, call.shape, *self.rows)
        now, before = residual.float().norm(dim=-1), self.before.get(call.branch)
        if before is not None:
            self.ratios.add(call.step, (now / before).reshape(call.shape.batch, -1).mean(dim=1))
        self.before[call.branch] = now
        del self.entered

    def forget(self) -> None:
        self.before.clear()

    def curves(self, num_inference_steps: int) -> dict[str, list]:
        return {"ratio": [self.ratios.get(step, 1.0) for step in range(num_inference_steps)]}
