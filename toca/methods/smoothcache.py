"""SmoothCache: reuse each kind of module as far as a calibration says it goes (Liu et al., arXiv 2411.10510)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

from ..axes.sampling import Sampling
from ..calibration.charts import Chart
from ..calibration.file import Calibration
from ..calibration.lag_errors import LagErrors, curve_name
from ..checks import NonNegative, SomeSteps, check
from ..models import Site
from ..registry import register
from .calibrated import Calibrated


class Skips(NamedTuple):
    """What a kind of module skips: for each step whether it does, and the errors that were let pass, by step."""

    skipped: list[bool]
    accepted: dict[int, float]


@register
@dataclass(frozen=True)
class SmoothCache(Calibrated):
    """Skip a kind of module for as many steps as its calibrated error allows.

    **Calibrated** (section 3): `E(s, k) = sum |x_s - x_(s-k)| / sum |x_s|`, the error of an output that is k steps
    old, mean over the blocks of a stack, for each kind of module. **When**: after a step i in which the kind computes
    it is skipped for the largest k <= max_lag with `E(i + k, k) <= alpha`; the first and the last step compute.
    **Which**: no token. **Fill**: reuse.

    Args:
        calibration (`str`, *optional*): Path of the file that `toca calibrate --method smoothcache` wrote.
        alpha (`float`, defaults to 0.1): The largest error that is let pass.
        max_lag (`int`, defaults to 3): Most steps in a row that are skipped.

    Raises:
        ValueError: If a value is out of range, or the file cannot be used; it says why.
    """

    calibration: str | None = None
    alpha: NonNegative = 0.1
    max_lag: SomeSteps = 3

    name: ClassVar[str] = "smoothcache"
    title: ClassVar[str] = "Liu et al., 2024, arXiv 2411.10510"
    knob: ClassVar[str | None] = "alpha"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.calibration is not None:
            _ = self.measured

    def gauge(self) -> LagErrors:
        return LagErrors(self.max_lag)

    def check_curves(self, measured: Calibration) -> None:
        lags = measured.check_rows(*measured.curves)
        check(self.max_lag <= lags, "max_lag", self.max_lag, f"must be at most the {lags} that were calibrated")

    def check_fits(self, sampling: Sampling) -> None:
        super().check_fits(sampling)
        self.measured.check_rows(*dict.fromkeys(curve_name(s.stack, s.module) for s in sampling.layout.sites))

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return not self.skips[curve_name(site.stack, site.module)].skipped[step]

    @cached_property
    def skips(self) -> dict[str, Skips]:
        """What each kind of module skips."""
        return {curve: self._skips(self.measured.rows(curve)) for curve in self.measured.curves}

    def _skips(self, errors: Sequence[Sequence[float]]) -> Skips:
        last, step, skips = len(errors) - 1, 0, Skips([False] * len(errors), {})
        while step < last:
            lags = range(min(self.max_lag, last - step), 0, -1)
            lag = next((k for k in lags if errors[step + k][k - 1] <= self.alpha), 0)
            for skipped in range(step + 1, min(step + lag + 1, last)):
                skips.skipped[skipped] = True
            if lag:
                skips.accepted[step + lag] = errors[step + lag][lag - 1]
            step += lag + 1
        return skips

    def charts(self) -> list[Chart]:
        charts = []
        for curve in self.measured.curves:
            errors = self.measured.rows(curve)
            lines = {f"lag {k}": [row[k - 1] for row in errors[k:]] for k in range(1, self.max_lag + 1)}
            skips = self.skips[curve]
            charts.append(Chart(f"error of {curve}", lines, skips.skipped, ("alpha", self.alpha), skips.accepted))
        return charts
