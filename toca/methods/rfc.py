"""Relational feature caching: the change of the input tells how far to go (arXiv 2602.19506)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch

from ..axes.fills import Fill
from ..axes.fills.base import Combine
from ..axes.fills.expansions import Taylor
from ..axes.gates import Gate, GateSizes, Observation, mean_per_image
from ..axes.sampling import Sampling, Timeline
from ..axes.spans import Span
from ..checks import NonNegative, SomeSteps, Within
from ..kernels.series import weighted_sum
from ..models import Site
from ..registry import register
from .base import Method

SomeOrder = Annotated[int, Within(1, 3)]


@register
@dataclass(frozen=True)
class Relational(Fill):
    """RFC's forecast: from the last computed value in the direction of the Taylor series, as far as a gate says.

    With f_i the derivatives of TaylorSeer and `S = sum over 1 <= i <= m of f_i k^i / i!`, k steps on, it is
    `f_0 + L |f_1| S / |S|` of each sample, L the length that the gate tells in steps; the series itself where none
    does.

    Args:
        order (`int`, defaults to 1): m, from 1 to 3.
    """

    order: SomeOrder = 1

    name: ClassVar[str] = "relational"
    reads_gate: ClassVar[bool] = True

    @property
    def kept(self) -> int:
        return self.order

    def scales(self, history: Sequence[int], timeline: Timeline) -> list[float]:
        return Taylor(self.order).scales(history, timeline)

    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        return Taylor(self.order).weights(step, history, timeline)

    @property
    def combine(self) -> Combine:
        return _combined

    def without_gate(self) -> Fill:
        return Taylor(self.order)


def _combined(value: torch.Tensor, higher: Sequence[torch.Tensor], weights: Sequence[Any]) -> torch.Tensor:
    """The weighted sum; with one weight more, (samples,), its direction alone, and that weight times |f_1| as its
    length."""
    if len(weights) <= len(higher) + 1:
        return weighted_sum(value, higher, weights)
    *series, lengths = weights
    course = weighted_sum(torch.zeros_like(value), higher, series)
    far = lengths.float() * _size(higher[0], len(lengths)) / _size(course, len(lengths))
    # Where nothing has moved there is no direction.
    far = far.nan_to_num(0.0, 0.0, 0.0).repeat_interleave(len(value) // len(lengths))
    return value + (far.view(-1, *[1] * (value.ndim - 1)) * course).to(value.dtype)


def _size(tensor: torch.Tensor, samples: int) -> torch.Tensor:
    """(samples x rows of a sample, ...) -> (samples,), float32: the norm of all that a sample has."""
    return tensor.float().reshape(samples, -1).norm(dim=1)


@register
@dataclass(frozen=True)
class ForecastError(Gate):
    """RFC's gate: opens once the errors of a forecast of the first module's input have added up; it tells how far that
    input has gone, in the steps of its last course.

    Args:
        threshold (`float`): tau, the error that adds up between two steps computed.
        order (`int`): m, of the forecast's Taylor series.
        per_sample (`bool`, defaults to `True`): Whether each image of a batch decides for itself.
    """

    threshold: NonNegative
    order: SomeOrder = 1
    per_sample: bool = True

    name: ClassVar[str] = "forecast-error"
    probe: ClassVar[int | None] = 0

    def opens(self, now: Observation) -> torch.Tensor:
        memory = now.memory
        error = mean_per_image((now.probe - self._forecast(now)).abs()) / mean_per_image(now.probe.abs())
        memory["accumulated"] = memory["accumulated"] + error
        added = memory["accumulated"]
        return ~((added <= self.threshold) & added.isfinite())

    def _forecast(self, now: Observation) -> torch.Tensor:
        x = self._steps_since(now)
        total = now.memory["input"]
        for i in range(1, self.order + 1):
            total = total + now.memory[f"derivative {i}"] * _spread(x**i / math.factorial(i), total)
        return total

    @staticmethod
    def _steps_since(now: Observation) -> torch.Tensor:
        return now.step - now.memory["computed_at"]

    def observe(self, now: Observation, computed: bool) -> None:
        if not computed:
            return
        memory, zeros = now.memory, torch.zeros(len(now.probe), device=now.probe.device)
        known = memory.get("known", zeros)
        gap = self._steps_since(now) if "computed_at" in memory else zeros + 1
        change, before = now.probe, memory.get("input", now.probe)
        for i in range(1, self.order + 1):
            # An i-th derivative takes i + 1 steps computed.
            change = (change - before) * _spread((known >= i) / gap, now.probe)
            before, memory[f"derivative {i}"] = memory.get(f"derivative {i}", torch.zeros_like(change)), change
        memory["input"], memory["known"] = now.probe, known + 1
        memory["accumulated"], memory["computed_at"] = zeros, zeros + now.step

    def weights_of(self, now: Observation) -> list[float | torch.Tensor]:
        x = self._steps_since(now)
        gone = _norm(now.probe - now.memory["input"]) / _norm(now.memory["derivative 1"])
        series = [x**i / math.factorial(i) for i in range(1, self.order + 1)]
        return [1.0, *series, gone.nan_to_num(0.0, 0.0, 0.0)]

    def bytes_kept(self, sizes: GateSizes) -> int:
        return (self.order + 1) * sizes.hidden + 3 * 4 * sizes.images


def _norm(tensor: torch.Tensor) -> torch.Tensor:
    """(images, ...) -> (images,), float32."""
    return tensor.float().flatten(1).norm(dim=1)


def _spread(numbers: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(images,), laid out to multiply (images, ...)."""
    return numbers.view(-1, *[1] * (like.ndim - 1)).to(like.dtype)


@register
@dataclass(frozen=True)
class RFC(Method):
    """Forecast features in the direction of their Taylor series and as far as the input has gone, and compute once
    that input itself is no longer forecast well.

    **When**: with I what the first module is given, `acc += mean |I - I^| / mean |I|`, I^ the Taylor series of order m
    through the steps computed; a step is computed once acc > threshold, which sets acc to 0. The first steps are
    computed. **Which**: no token. **Fill**: k steps after the last step computed, N after the one before,
    `O_t + s |I_now - I_t| S / |S|`, S the Taylor series of order m without O_t, and
    `s = |O_t - O_(t-N)| / |I_t - I_(t-N)|`.

    In the paper I is each module's own input; here it is the first module's for all of them, which is known before
    block 0 runs and is kept once.

    Args:
        threshold (`float`, defaults to 0.2): tau, the error that adds up between two steps computed; ours, for we know
            of no published value.
        order (`int`, defaults to 1): m, 1 or 2 in the paper.
        warmup_steps (`int`, defaults to 2): First steps that are computed.
        scope (`str`, defaults to `"module"`): What is forecast: each module's output before the gate (`"module"`), or
            what all blocks together add (`"stack"`), which takes as many tensors for the model and not for each.
        per_sample (`bool`, defaults to `True`): Whether each image of a batch decides for itself.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    threshold: NonNegative = 0.2
    order: SomeOrder = 1
    warmup_steps: SomeSteps = 2
    scope: Literal["module", "stack"] = "module"
    per_sample: bool = True

    name: ClassVar[str] = "rfc"
    title: ClassVar[str] = "ICLR 2026, arXiv 2602.19506"
    knob: ClassVar[str | None] = "threshold"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step < self.warmup_steps

    @property
    def leaves_out_blocks(self) -> bool:
        return self.scope == "stack"

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return (Span(0, sampling.layers, forecasts=True),) if self.scope == "stack" else ()

    def gate(self) -> Gate:
        return ForecastError(self.threshold, self.order, self.per_sample)

    def filling(self) -> Fill:
        return Relational(self.order)
