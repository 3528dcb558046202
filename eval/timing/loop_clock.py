"""The time of a pipeline's denoising loop, seen from its transformers."""

from __future__ import annotations

import time
from types import NoneType
from typing import Any, TypeAlias

import torch
from torch import nn

from toca.eval.counting.calls import CallWatch

Moment: TypeAlias = "float | torch.cuda.Event"


class LoopClock(CallWatch):
    """While it is entered, notes when the first transformer call begins and when the last one ends. Between the two
    lie the scheduler's steps, but neither the text encoder nor the VAE.

    Args:
        transformers (`list[nn.Module]`): All transformers of a pipeline.
    """

    def __init__(self, transformers: list[nn.Module]) -> None:
        super().__init__(transformers)
        self._first: Moment | None = None
        self._last: Moment | None = None

    def _before(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        super()._before(module, inputs)
        if self._first is None:
            self._first = _now(module)

    def _after(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self._last = _now(module)

    @property
    def seconds(self) -> float:
        """Read it after the device has been synchronised."""
        first, last = self._first, self._last
        if isinstance(first, torch.cuda.Event) and isinstance(last, torch.cuda.Event):
            return first.elapsed_time(last) / 1000
        if isinstance(first, (torch.cuda.Event, NoneType)) or isinstance(last, (torch.cuda.Event, NoneType)):
            raise ValueError("No transformer has been called: there is no loop to tell the time of.")
        return last - first


def _now(module: nn.Module) -> Moment:
    """Seconds on a CPU. On a GPU an event: waiting for the device at every call would slow down what is measured."""
    if next(module.parameters()).device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event
