"""ScalingCache: a part of the straight line, scaled as a calibration says (ICLR 2026)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

from ..axes.fills import Fill
from ..axes.fills.scaled import Scaled
from ..axes.sampling import Sampling
from ..calibration.charts import Chart
from ..calibration.file import Calibration
from ..calibration.slopes import ERROR, Slopes
from ..checks import NonNegative, SomeSteps, check
from ..models import Site
from ..registry import register
from .calibrated import Calibrated


class Schedule(NamedTuple):
    """Whether each step is filled, the error that had added up in it, and the largest that is let pass."""

    filled: list[bool]
    errors: list[float]
    most: float


@register
@dataclass(frozen=True)
class ScalingCache(Calibrated):
    """Between full steps go on along the line through the last two, as far as a calibration has found that each site
    does; how often a step is full the changes that were calibrated tell.

    **Calibrated**: e_s, the relative change of a site's output from step to step, mean over the sites; and for each
    site and step alpha, by least squares `<y_s - y_t, k D> / <k D, k D>`, t = s - k the last full step and D the slope
    up to it. **When**: the first S_f steps are full, then a step is once the e that have added up since the last full
    step are above delta, the mean over the first S_f steps of what had added up from the first on. **Which**: nothing
    is computed in the others. **Fill**: `y_t + alpha k D`; alpha 0 is reuse, 1 is TaylorSeer of order 1.

    Known from a digest of the paper alone: that delta is this mean, and that alpha is fitted with D over the k + 1
    steps before t, is our reading.

    Args:
        calibration (`str`, *optional*): Path of the file that `toca calibrate --method scalingcache` wrote.
        warmup_steps (`int`, defaults to 4): S_f, at most 14 in the paper, whose only knob it is.
        threshold (`float`, defaults to 1): By which delta is multiplied; ours, for what lies between two S_f.
        max_lag (`int`, defaults to 3): The largest k that alpha is calibrated for; larger ones have its alpha.

    Raises:
        ValueError: If a value is out of range, or the file cannot be used; it says why.
    """

    calibration: str | None = None
    warmup_steps: SomeSteps = 4
    threshold: NonNegative = 1.0
    max_lag: SomeSteps = 3

    name: ClassVar[str] = "scalingcache"
    title: ClassVar[str] = "ICLR 2026"
    knob: ClassVar[str | None] = "threshold"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.calibration is not None:
            _ = self.measured

    def gauge(self) -> Slopes:
        return Slopes(self.max_lag)

    def check_curves(self, measured: Calibration) -> None:
        measured.check_numbers(ERROR)
        lags = measured.check_rows(*self._sites_of(measured))
        check(self.max_lag <= lags, "max_lag", self.max_lag, f"must be at most the {lags} that were calibrated")

    @staticmethod
    def _sites_of(measured: Calibration) -> tuple[str, ...]:
        return tuple(name for name in measured.curves if name != ERROR)

    def check_fits(self, sampling: Sampling) -> None:
        super().check_fits(sampling)
        self.measured.check_rows(*(f"{site.layer}.{site.module}" for site in sampling.layout.sites))

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return not self.schedule.filled[step]

    def filling(self) -> Fill:
        return self._fill

    @cached_property
    def _fill(self) -> Scaled:
        if self.calibration is None:
            return Scaled((), ())
        sites = self._sites_of(self.measured)
        slopes = (tuple(tuple(row[: self.max_lag]) for row in self.measured.rows(name)) for name in sites)
        return Scaled(sites, tuple(slopes))

    @cached_property
    def schedule(self) -> Schedule:
        """The rule, step by step."""
        changes = self.measured.numbers(ERROR)
        first = min(self.warmup_steps, len(changes))
        added = [sum(changes[1 : step + 1]) for step in range(first)]
        most = self.threshold * sum(added[1:]) / max(len(added) - 1, 1)
        schedule, since = Schedule([False] * first, [0.0] * first, most), 0.0
        for change in changes[first:]:
            since += change
            schedule.errors.append(since)
            schedule.filled.append(since <= most)
            since = since if since <= most else 0.0
        return schedule

    def charts(self) -> list[Chart]:
        filled, errors, most = self.schedule
        accepted = {step: errors[step] for step in range(len(errors)) if filled[step]}
        slopes = self._fill.slopes
        means = {
            f"k = {k + 1}": [sum(rows[step][k] for rows in slopes) / len(slopes) for step in range(len(filled))]
            for k in range(self.max_lag)
        }
        return [
            Chart("change since the step before, added up", {"e": errors}, filled, ("delta", most), accepted),
            Chart("part of the line, mean over the sites", means, filled),
        ]
