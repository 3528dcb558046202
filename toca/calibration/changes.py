"""How the output of all blocks changes when their modulated input does: what TeaCache needs."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ..axes.gates import relative_l1
from ..models import FamilySpec
from .gauges import Gauge, rounded
from .reading import on_leaving, on_modulated_input


class Changes(Gauge):
    """The curves `input`, `output` and `coefficients`.

    `input` and `output`, a number a step: `mean |x_s - x_(s-1)| / mean |x_(s-1)|`, mean over the samples, x the
    modulated input of the first block's attention, or what leaves the last block; 0 in step 0. `coefficients`: the
    polynomial, highest order first, from the one's change to the other's, fitted to every step of every sample.
    `explained`: the share of the variance that it explains (R squared).

    Args:
        order (`int`): Of the polynomial.
    """

    def __init__(self, order: int):
        self.order, self.fewest_steps = order, order + 2
        self.changes: dict[tuple[str, int], list[torch.Tensor]] = {}
        self.before: dict[Hashable, torch.Tensor] = {}

    def attach(self, transformer: nn.Module, spec: FamilySpec) -> Iterator[RemovableHandle]:
        yield on_modulated_input(transformer, spec, self.shape, partial(self._note, "input"))
        yield on_leaving(transformer, spec, self.shape, partial(self._note, "output"))

    def _note(self, name: str, hidden_states: torch.Tensor) -> None:
        call = self.call
        now, before = hidden_states.reshape(call.shape.batch, -1), self.before.get((call.branch, name))
        if before is not None:
            self.changes.setdefault((name, call.step), []).append(relative_l1(now, before))
        self.before[call.branch, name] = now

    def forget(self) -> None:
        self.before.clear()

    def curves(self, num_inference_steps: int) -> dict[str, list]:
        x, y = (self._by_step(name, num_inference_steps) for name in ("input", "output"))
        inputs, outputs = np.concatenate(x), np.concatenate(y)
        coefficients = np.polyfit(inputs, outputs, self.order)
        left = np.square(outputs - np.polyval(coefficients, inputs)).sum()
        return {
            "input": [0.0, *(rounded(values.mean()) for values in x)],
            "output": [0.0, *(rounded(values.mean()) for values in y)],
            "coefficients": coefficients.tolist(),
            "explained": [rounded(1 - left / np.square(outputs - outputs.mean()).sum())],
        }

    def _by_step(self, name: str, num_inference_steps: int) -> list[np.ndarray]:
        """The change of every sample, (samples,), in each step after the first."""
        return [torch.cat(self.changes[name, step]).cpu().double().numpy() for step in range(1, num_inference_steps)]
