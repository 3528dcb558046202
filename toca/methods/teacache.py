"""TeaCache: timestep embedding tells (Liu et al., arXiv 2411.19108)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import torch
from torch import nn

from ..axes.gates import Gate, GateSizes, Observation, reaches, relative_l1
from ..axes.sampling import Sampling
from ..axes.spans import Span
from ..calibration.changes import Changes
from ..calibration.charts import Chart
from ..calibration.file import Calibration
from ..checks import NonNegative, check
from ..models import Site
from ..plan import Plan
from ..registry import register
from .base import Method
from .calibrated import Calibrated

ORDER = 4
MOST_COEFFICIENTS = 16
Number = TypeVar("Number", float, torch.Tensor)


def polynomial(coefficients: tuple[float, ...], x: Number) -> Number:
    """The polynomial's value, coefficients from the highest order down."""
    value = 0 * x
    for coefficient in coefficients:
        value = value * x + coefficient
    return value


@register
@dataclass(frozen=True)
class ModulatedInput(Gate):
    """TeaCache's gate: opens once the change of the modulated input of block 0's attention has added up.

    Args:
        coefficients (`tuple[float, ...]`): Of the polynomial that the change goes through, highest order first.
        threshold (`float`): delta, the change that adds up between two steps computed.
        per_sample (`bool`, defaults to `True`): Whether each image of a batch decides for itself.
    """

    coefficients: tuple[float, ...]
    threshold: NonNegative
    per_sample: bool = True

    name: ClassVar[str] = "modulated-input"
    probe: ClassVar[int | None] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        few = 1 <= len(self.coefficients) <= MOST_COEFFICIENTS
        check(few, "coefficients", self.coefficients, f"must be 1 to {MOST_COEFFICIENTS} numbers")

    def opens(self, now: Observation) -> torch.Tensor:
        memory = now.memory
        change = polynomial(self.coefficients, relative_l1(now.probe, memory["modulated"]))
        memory["accumulated"] = memory["accumulated"] + change
        return reaches(memory["accumulated"], self.threshold)

    def observe(self, now: Observation, computed: bool) -> None:
        now.memory["modulated"] = now.probe
        if computed:
            now.memory["accumulated"] = torch.zeros(len(now.probe), device=now.probe.device)

    def bytes_kept(self, sizes: GateSizes) -> int:
        return sizes.hidden + 4 * sizes.images


@register
@dataclass(frozen=True)
class TeaCache(Calibrated):
    """Leave out all blocks until the input of the first, modulated by the timestep, has changed enough.

    **When** (section 3.3): with M the modulated input of block 0's attention, `d = mean |M - M'| / mean |M'|` against
    the step before and `acc += poly(d)`; a step is computed once `acc >= threshold`, which sets acc to 0. The first
    and the last step are computed. **Which**: no token. **Fill**: what all blocks together added to their input in the
    last step computed. **Calibrated** (section 3): poly, of order 4, so that it comes nearest to the change of what
    leaves the last block.

    Args:
        coefficients (`tuple[float, ...]`, *optional*): Of the polynomial, highest order first, as published for a
            model. Without them and without a calibration the change of the input counts as it is.
        calibration (`str`, *optional*): In their place: path of the file that `toca calibrate --method teacache`
            wrote.
        threshold (`float`, defaults to 0.3): delta, the change that adds up between two steps computed.
        per_sample (`bool`, defaults to `True`): Whether each image of a batch decides for itself.

    Raises:
        ValueError: If a value is out of range, if both coefficients and a calibration are given, or if the file
            cannot be used; it says why.
    """

    coefficients: tuple[float, ...] | None = None
    calibration: str | None = None
    threshold: NonNegative = 0.3
    per_sample: bool = True

    name: ClassVar[str] = "teacache"
    title: ClassVar[str] = "Liu et al., CVPR 2025, arXiv 2411.19108"
    knob: ClassVar[str | None] = "threshold"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.coefficients is not None:
            few = 1 <= len(self.coefficients) <= MOST_COEFFICIENTS
            check(few, "coefficients", self.coefficients, f"must be 1 to {MOST_COEFFICIENTS} numbers")
            check(self.calibration is None, "calibration", self.calibration, "comes in place of `coefficients`")
        if self.calibration is not None:
            _ = self.measured

    def gauge(self) -> Changes:
        return Changes(ORDER)

    def check_curves(self, measured: Calibration) -> None:
        measured.check_numbers("input", "output")
        measured.check_numbers("coefficients", length=ORDER + 1)
        measured.check_numbers("explained", length=1)

    @property
    def lacks_file(self) -> bool:
        return self.calibration is None and self.coefficients is None

    @property
    def needs_file(self) -> bool:
        return False

    def check_fits(self, sampling: Sampling) -> None:
        if self.calibration is None:
            Method.check_fits(self, sampling)
        else:
            super().check_fits(sampling)

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step in (0, sampling.num_inference_steps - 1)

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return (Span(0, sampling.layers),)

    def gate(self) -> Gate:
        # Its coefficients and not its file: a plan is whole by itself.
        return ModulatedInput(self.polynomial, self.threshold, self.per_sample)

    @property
    def polynomial(self) -> tuple[float, ...]:
        """The coefficients, wherever they come from."""
        if self.calibration is not None:
            return tuple(self.measured.numbers("coefficients"))
        return (1.0, 0.0) if self.coefficients is None else self.coefficients

    def expected_plan(self, transformer: nn.Module) -> Plan:
        plan = super().expected_plan(transformer)
        computed = [not filled for filled in self._expected()[0]]
        table = tuple(plan.full_row if full else row for full, row in zip(computed, plan.table, strict=True))
        spans = tuple(() if full else spans for full, spans in zip(computed, plan.spans, strict=True))
        return replace(plan, table=table, spans=spans)

    def _expected(self) -> tuple[list[bool], list[float]]:
        """Whether each step is filled where the input changes as it did on average, and what has added up in it."""
        changes = self.measured.numbers("input")
        filled, added, accumulated = [], [], 0.0
        for step, change in enumerate(changes):
            forced = step in (0, len(changes) - 1)
            accumulated += 0.0 if forced else polynomial(self.polynomial, change)
            added.append(accumulated)
            filled.append(not forced and accumulated < self.threshold)
            accumulated = accumulated if filled[-1] else 0.0
        return filled, added

    def charts(self) -> list[Chart]:
        (filled, added), numbers = self._expected(), self.measured.numbers
        accepted = {step: added[step] for step in range(len(added)) if filled[step]}
        changes = {"of the input": numbers("input")[1:], "of the output": numbers("output")[1:]}
        expected = f"expected of it ({numbers('explained')[0]:.0%} explained)"
        changes[expected] = [polynomial(self.polynomial, change) for change in changes["of the input"]]
        return [
            Chart("change since the step before", changes, filled),
            Chart("expected change, added up", {"acc": added}, filled, ("threshold", self.threshold), accepted),
        ]
