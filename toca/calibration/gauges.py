"""What is measured of a stock model while it runs. Each calibrated method has a gauge of its own.

A gauge hooks the modules that it reads. What it has measured stays on the model's device, and of the features
themselves it keeps no more than the steps that it compares need.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ..models import CallShape, FamilySpec

DIGITS = 6
"""Significant digits of a measured number: more than the samples of a model agree in."""


@dataclass(frozen=True)
class MeasuredCall:
    """The transformer call that is under way: its branch of guidance, its step, its sizes."""

    branch: Hashable
    step: int
    shape: CallShape


class Gauge(ABC):
    """Measures one model over any number of generations.

    Attributes:
        call (`MeasuredCall`): The transformer call that is under way.
        fewest_steps (`int`): Of a generation that it can make something of.
    """

    call: MeasuredCall
    fewest_steps: int = 1

    def shape(self) -> CallShape:
        """The sizes of the call that is under way."""
        return self.call.shape

    @abstractmethod
    def attach(self, transformer: nn.Module, spec: FamilySpec) -> Iterator[RemovableHandle]:
        """Hook the modules that it reads, one by one; yields what takes each hook off."""

    @abstractmethod
    def forget(self) -> None:
        """Let go of the features: a generation has ended."""

    @abstractmethod
    def curves(self, num_inference_steps: int) -> dict[str, list]:
        """What was measured, mean over all samples and guidance branches."""


class Means:
    """Means of numbers that come one tensor at a time; no device is waited for."""

    def __init__(self) -> None:
        self._sums: dict[Hashable, torch.Tensor] = {}
        self._counts: dict[Hashable, int] = {}

    def add(self, key: Hashable, values: torch.Tensor) -> None:
        """Take in what `key` names: one number a sample, (samples,), float32."""
        self._sums[key] = self._sums[key] + values.sum() if key in self._sums else values.sum()
        self._counts[key] = self._counts.get(key, 0) + len(values)

    def get(self, key: Hashable, default: float) -> float:
        """The mean of what `key` names, or `default` where there is nothing."""
        return rounded(float(self._sums[key]) / self._counts[key]) if key in self._sums else default


def rounded(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")
