"""The time of a pipeline's denoising loop, seen from its transformers."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn

from toca.eval.counting.calls import CallWatch


class LoopClock(CallWatch):
    """While it is entered, notes when the first transformer call begins and when the last one ends. Between the two
    lie the scheduler's steps, but neither the text encoder nor the VAE.

    Args:
        transformers (`list[nn.Module]`): All transformers of a pipeline.
    """

    def __init__(self, transformers: list[nn.Module]) -> None:
        super().__init__(transformers)
        self._first: Any = None
        self._last: Any = None

    def _before(self, module: nn.Module, inputs: tuple) -> None:
        super()._before(module, inputs)
        if self._first is None:
            self._first = _now(module)

    def _after(self, module: nn.Module, inputs: tuple, output: Any) -> None:
        self._last = _now(module)

    @property
    def seconds(self) -> float:
        """Read it after the device has been synchronised."""
        if isinstance(self._first, float):
            return self._last - self._first
        return self._first.elapsed_time(self._last) / 1000


def _now(module: nn.Module) -> Any:
    """Seconds on a CPU. On a GPU an event: waiting for the device at every call would slow down what is measured."""
    if next(module.parameters()).device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event
