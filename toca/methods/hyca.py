"""HyCa: channels in clusters, and for each the solver that would have foretold it best (arXiv 2510.04188); our reading
of a paper whose solvers stand in an appendix that we have not seen."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar

import torch

from ..axes.fills import Fill
from ..axes.fills.base import Combine
from ..axes.fills.polynomial import Polynomial
from ..axes.fills.renewal import Renewal, shifted
from ..axes.sampling import Sampling, Timeline
from ..axes.schedule import spaced_schedule
from ..axes.spans import Span, last_image
from ..checks import Clusters, SomeSteps
from ..kernels.channels import channel_clusters, channel_courses, descriptors
from ..kernels.kmeans import one_hot
from ..models import CallShape, Site
from ..registry import register
from .base import Method

VALUES = 5
"""How many values are kept: a solver reads three slopes, and is tried on the last value without it."""


@register
@dataclass(frozen=True)
class HyCa(Method):
    """Between full steps, forecast what leaves the last block channel by channel: channels that move alike by one
    solver of a pool, the one that would have told their last value best.

    **When**: the first k steps are full, then every N-th. **Which**: nothing is computed in the others but the last
    norm and projection. **Fill**, from the last five computed values of each sample: descriptors of a channel (norms
    of first and second differences, energy, third and second differences over the first, flatness of the spectrum
    over the values), k-means of the channels, and in each cluster the solver whose forecast of the last value
    from those before has the least squared error. With f_0, f_1, f_2 the last slopes, latest first, x the steps since
    the last value F and g_0, g_1 the gaps before it, the pool is

    - Taylor: `F`, `F + x f_0`, and `F + x f_0 + x^2 / 2 (f_0 - f_1) / g_0`,
    - Adams-Bashforth: `F + x (3 f_0 - f_1) / 2`,
    - BDF, the slope ahead on a line: `F + x (5 f_0 - 2 f_1) / 3`,
    - Adams-Moulton, the slope ahead on a parabola: `F + x (4 f_0 - 3 f_1 + f_2) / 2`,
    - Runge-Kutta's midpoint, its slope on a line: `F + x (f_0 + (x + g_0) (f_0 - f_1) / (g_0 + g_1))`.

    Before five values are known it is the straight line through the last two. Where the image leaves the last block in
    one row with text, it is the model's output that is kept and filled.

    This is a reading: the paper names descriptors, clusters and the families of solvers, not their formulas nor the
    number of clusters; it also clusters once, on one prompt, where here every sample is clustered from its own values.
    What that takes is not counted among the FLOPs.

    Args:
        interval (`int`, defaults to 6): N.
        warmup_steps (`int`, defaults to 5): k.
        clusters (`int`, defaults to 4): How many; at most as many as channels.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    interval: SomeSteps = 6
    warmup_steps: SomeSteps = 5
    clusters: Clusters = 4

    name: ClassVar[str] = "hyca"
    title: ClassVar[str] = "arXiv 2510.04188, ICLR 2026; our reading"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return spaced_schedule(self.interval, self.warmup_steps).full_steps(sampling.num_inference_steps)[step]

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return last_image(sampling.layout)

    def filling(self) -> Fill:
        return SolverPool(self.clusters)


@register
@dataclass(frozen=True)
class SolverPool(Fill):
    """The forecast of `HyCa`.

    Args:
        clusters (`int`, defaults to 4): How many.
    """

    clusters: Clusters = 4

    name: ClassVar[str] = "solver-pool"

    @property
    def renewal(self) -> Renewal:
        return shifted

    @property
    def kept(self) -> int:
        return VALUES - 1

    @property
    def term_kind(self) -> Hashable:
        return "values"

    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        """Of each solver those in the forecast, and those in that of the last value from the ones before; before five
        values are known every solver is the line."""
        line = Polynomial(1, "step").weights(step, history, timeline)
        line += [0.0] * (VALUES - len(line))
        if len(history) < VALUES:
            return line * 2 * SOLVERS
        ahead, before = solvers(step, history), solvers(history[0], history[1:])
        return [weight for one, other in zip(ahead, before, strict=True) for weight in (*one, 0.0, *other)]

    @property
    def combine(self) -> Combine:
        """Each row by itself, where samples are not told."""
        return _combiner(self.clusters, None)

    def combine_for(self, shape: CallShape) -> Combine:
        return _combiner(self.clusters, shape.batch)


SOLVERS = 7


def solvers(step: int, history: Sequence[int]) -> list[list[float]]:
    """The weights of values, latest first, in each solver's forecast.

    Args:
        step (`int`): The step that is forecast.
        history (`Sequence[int]`): The steps of the values, latest first, at least four.
    """
    x, gaps = step - history[0], [a - b for a, b in zip(history, history[1:], strict=False)]
    middle = (x + gaps[0]) / (gaps[0] + gaps[1])
    of_slopes = (
        (0.0, 0.0, 0.0),
        (x, 0.0, 0.0),
        (x + x * x / 2 / gaps[0], -x * x / 2 / gaps[0], 0.0),
        (1.5 * x, -0.5 * x, 0.0),
        (5 / 3 * x, -2 / 3 * x, 0.0),
        (2.0 * x, -1.5 * x, 0.5 * x),
        (x + x * middle, -x * middle, 0.0),
    )
    return [_of_values(slopes, gaps, len(history)) for slopes in of_slopes]


def _of_values(slopes: Sequence[float], gaps: Sequence[int], values: int) -> list[float]:
    """The last value and slopes with weights, as weights of the values."""
    weights = [1.0, *[0.0] * (values - 1)]
    for i, slope in enumerate(slopes):
        weights[i] += slope / gaps[i]
        weights[i + 1] -= slope / gaps[i]
    return weights


@cache
def _combiner(clusters: int, samples: int | None) -> Combine:
    """The same one each time: compiled blocks guard on it."""
    return partial(_forecast, clusters, samples)


def _forecast(
    clusters: int, samples: int | None, value: torch.Tensor, higher: Sequence[torch.Tensor], weights: Sequence[Any]
) -> torch.Tensor:
    courses = [channel_courses(each, samples or len(value)) for each in (value, *higher)]
    numbers = torch.stack([torch.as_tensor(weight, dtype=torch.float32) for weight in weights])
    ahead, before = numbers.to(value.device).view(SOLVERS, 2, VALUES).unbind(1)
    errors = torch.stack([_sum(row, courses).sub(courses[0]).square().sum(dim=1) for row in before], dim=1)
    groups = channel_clusters(descriptors(courses), min(clusters, courses[0].shape[-1]))
    # (B, solvers, clusters): what is not finite is worst.
    members = one_hot(groups, clusters, errors.dtype)
    totals = (errors.nan_to_num(posinf=1e30, nan=1e30)[..., None] * members[:, None]).sum(dim=2)
    best = totals.argmin(dim=1).gather(1, groups)
    chosen = ahead[best]
    forecast = _sum(chosen.unbind(-1), courses, channels=True)
    if value.ndim > 3:
        forecast = forecast.movedim(-1, 1)
    forecast = forecast.reshape(value.shape).to(value.dtype)
    return torch.where(forecast.isfinite(), forecast, value)


def _sum(
    weights: Sequence[torch.Tensor] | torch.Tensor, courses: Sequence[torch.Tensor], channels: bool = False
) -> Any:
    """The weighted sum of values (B, numbers, C); a weight is one for all, or one for each channel (B, C)."""
    return sum((w[:, None] if channels else w) * course for w, course in zip(weights, courses, strict=True))
