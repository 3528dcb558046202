"""MagCache: the size of the residual tells how far it may be reused (Ma et al., arXiv 2506.09045)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

from ..axes.sampling import Sampling
from ..axes.spans import Span
from ..calibration.charts import Chart
from ..calibration.file import Calibration
from ..calibration.magnitude_ratios import MagnitudeRatios
from ..checks import NonNegative, Share, Steps
from ..models import Site
from ..registry import register
from .calibrated import Calibrated


class Schedule(NamedTuple):
    """What becomes of each step: whether it is skipped, and the error e that had added up to."""

    skipped: list[bool]
    errors: list[float]


@register
@dataclass(frozen=True)
class MagCache(Calibrated):
    """Leave out all blocks while the size of what they add, as calibrated, says that it has hardly changed.

    **Calibrated** (section 3): `gamma_s = mean |r_s| / |r_(s-1)|` over the tokens, r what all blocks together add to
    their input, |r| its norm over the channels of a token. **When**: from step floor(S retention + 1/2) on
    `p *= gamma_s`, `e += |1 - p|`; a step is skipped while `e <= threshold` and no more than max_skip steps in a row
    are; one that computes sets p to 1 and e to 0. **Which**: no token. **Fill**: r of the last step computed. The
    gammas depend little on the prompt, so that all this is known beforehand.

    Args:
        calibration (`str`, *optional*): Path of the file that `toca calibrate --method magcache` wrote.
        threshold (`float`, defaults to 0.24): delta, the error that adds up between two steps computed.
        max_skip (`int`, defaults to 5): K, most steps in a row that are skipped.
        retention (`float`, defaults to 0.1): Share of the steps, from the first, that compute.

    Raises:
        ValueError: If a value is out of range, or the file cannot be used; it says why.
    """

    calibration: str | None = None
    threshold: NonNegative = 0.24
    max_skip: Steps = 5
    retention: Share = 0.1

    name: ClassVar[str] = "magcache"
    title: ClassVar[str] = "Ma et al., NeurIPS 2025, arXiv 2506.09045"
    knob: ClassVar[str | None] = "threshold"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.calibration is not None:
            _ = self.measured

    def gauge(self) -> MagnitudeRatios:
        return MagnitudeRatios()

    def check_curves(self, measured: Calibration) -> None:
        measured.check_numbers("ratio")

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return not self.schedule.skipped[step]

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return (Span(0, sampling.layers),)

    @cached_property
    def schedule(self) -> Schedule:
        """The rule, step by step. The first step computes in any case: there is nothing to reuse."""
        ratios = self.measured.numbers("ratio")
        first = max(1, int(len(ratios) * self.retention + 0.5))
        schedule, p, e, in_a_row = Schedule([False] * first, [0.0] * first), 1.0, 0.0, 0
        for gamma in ratios[first:]:
            p *= gamma
            e += abs(1 - p)
            in_a_row += 1
            skipped = e <= self.threshold and in_a_row <= self.max_skip
            schedule.skipped.append(skipped)
            schedule.errors.append(e)
            if not skipped:
                p, e, in_a_row = 1.0, 0.0, 0
        return schedule

    def charts(self) -> list[Chart]:
        skipped, errors = self.schedule
        accepted = {step: errors[step] for step in range(len(errors)) if skipped[step]}
        return [
            Chart(
                "ratio of the residual's size to that of the step before",
                {"gamma": self.measured.numbers("ratio")[1:]},
                skipped,
            ),
            Chart("error added up", {"e": errors}, skipped, ("threshold", self.threshold), accepted),
        ]
