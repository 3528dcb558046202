"""Dynamic mode decomposition as a forecast: sums of growing, fading and swinging exponentials; as in cache-dit."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any, ClassVar

import torch

from ..axes.fills import Fill
from ..axes.fills.base import Combine
from ..axes.fills.polynomial import Polynomial
from ..axes.fills.renewal import Renewal, shifted
from ..axes.sampling import Sampling, Timeline
from ..axes.schedule import spaced_schedule
from ..axes.spans import Span, last_image
from ..checks import SomeSteps, Within
from ..kernels.dynamics import dmd_weights, products
from ..kernels.series import weighted_sum
from ..models import CallShape, Site
from ..registry import register
from .base import Method

LEAST_SNAPSHOTS = 4
"""One swing takes three pairs of snapshots."""


@register
@dataclass(frozen=True)
class DMD(Method):
    """Between full steps, forecast what leaves the last block as a sum of exponentials of time, fitted to the last
    full steps of each sample by itself.

    **When**: the first k steps are full, then every N-th. **Which**: nothing is computed in the others but the last
    norm and projection. **Fill**: from at least 4 snapshots that are equally far apart, at most `window`, the linear
    map from one to the next, `A = X' X^+`, without the singular values below 1e-4 of the largest; the forecast is
    `Re Phi L^k Phi^+ y`, with Phi and L the modes and eigenvalues of A, y the last snapshot and k the steps since, in
    units of the spacing (Schmid, 2010). Where fewer are known, as after a change of the spacing, it is the straight
    line through the last two.

    Where the image leaves the last block in one row with text, it is the model's output that is kept and filled.

    It waits for the device once for each tensor that is filled. What the fit takes is not counted among the FLOPs.

    Args:
        interval (`int`, defaults to 4): N.
        warmup_steps (`int`, defaults to 4): k.
        window (`int`, defaults to 6): Snapshots that are kept, from 4 to 16.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    interval: SomeSteps = 4
    warmup_steps: SomeSteps = 4
    window: Annotated[int, Within(LEAST_SNAPSHOTS, 16)] = 6

    name: ClassVar[str] = "dmd"
    title: ClassVar[str] = "Schmid, J. Fluid Mech. 2010; as in cache-dit"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return spaced_schedule(self.interval, self.warmup_steps).full_steps(sampling.num_inference_steps)[step]

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return last_image(sampling.layout)

    def filling(self) -> Fill:
        return DynamicModes(self.window)


@register
@dataclass(frozen=True)
class DynamicModes(Fill):
    """The forecast of `DMD`. The last values are kept, and how they count is worked out from them when a step is
    filled.

    Args:
        window (`int`, defaults to 6): How many, from 4 to 16.
    """

    window: Annotated[int, Within(LEAST_SNAPSHOTS, 16)] = 6

    name: ClassVar[str] = "dynamic-modes"

    @property
    def renewal(self) -> Renewal:
        return shifted

    @property
    def kept(self) -> int:
        return self.window - 1

    @property
    def term_kind(self) -> Hashable:
        return "values"

    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        """Those of a straight line, then the steps since the last value in units of the spacing, and how many values
        are equally far apart; the last two are 0 where these are too few."""
        line = Polynomial(1, "step").weights(step, history, timeline)
        line += [0.0] * (self.window - len(line))
        spacing, snapshots = 0, min(len(history), 2)
        if snapshots == 2:
            spacing = history[0] - history[1]
        while snapshots < len(history) and history[snapshots - 1] - history[snapshots] == spacing:
            snapshots += 1
        if snapshots < LEAST_SNAPSHOTS:
            return [*line, 0.0, 0.0]
        return [*line, (step - history[0]) / spacing, float(snapshots)]

    @property
    def combine(self) -> Combine:
        """Each row by itself, where samples are not told."""
        return _combiner(None)

    def combine_for(self, shape: CallShape) -> Combine:
        return _combiner(shape.batch)


@cache
def _combiner(samples: int | None) -> Combine:
    """The same one each time: compiled blocks guard on it."""
    return partial(_forecast, samples)


def _forecast(
    samples: int | None, value: torch.Tensor, higher: Sequence[torch.Tensor], weights: Sequence[Any]
) -> torch.Tensor:
    *line, ahead, snapshots = weights
    known = isinstance(ahead, torch.Tensor)
    straight = weighted_sum(value, higher, line)
    if not known and ahead == 0:
        return straight
    numbers = torch.stack([torch.as_tensor(number, dtype=torch.float64) for number in (ahead, snapshots)])
    counts = dmd_weights(products([value, *higher], samples or len(value)), numbers)
    forecast = weighted_sum(value, higher, counts.unbind(1))
    # Beyond what half precision holds there is no forecast.
    forecast = torch.where(forecast.isfinite(), forecast, value)
    return torch.where(numbers[0].to(value.device) == 0, straight, forecast) if known else forecast
