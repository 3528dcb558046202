"""How near pictures are to others, for a front."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .generations import psnr

RESAMPLES = 10_000
DRAWN = 20_000_000
"""Values that are drawn for one interval at most: beyond 2,000 values there are fewer draws, each of as many."""
LEAST_RESAMPLES = 1_000
AT_ONCE = 1_000_000
"""Values that are drawn at a time, for memory."""


def decibels(made: np.ndarray, reference: np.ndarray) -> list[float]:
    """The PSNR of each sample, (B, ...) from 0 to 1 both; 0 where one is not finite."""
    found = [psnr(one, other) for one, other in zip(made, reference, strict=True)]
    return [value if math.isfinite(value) else 0.0 for value in found]


def bootstrap(values: Sequence[float]) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles of the means of draws with replacement. The draws are the same for every call
    with as many values, so that the same values give the same interval."""
    array = np.asarray(values, np.float64)
    random, rows = np.random.default_rng(0), max(1, AT_ONCE // array.size)
    left = resamples(array.size)
    means = []
    for count in [rows] * (left // rows) + [left % rows]:
        means.append(array[random.integers(array.size, size=(count, array.size))].mean(axis=1))
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return float(low), float(high)


def resamples(count: int) -> int:
    """How often `count` values are drawn anew for an interval: 1,000 times of thirty thousand, where the interval's
    ends hold to 3 % of its width."""
    return min(RESAMPLES, max(LEAST_RESAMPLES, DRAWN // count))


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean over the samples, and its interval, which holds it also where all are alike but for rounding."""
    mean, (low, high) = float(np.mean(values)), bootstrap(values)
    return mean, min(mean, low), max(mean, high)
