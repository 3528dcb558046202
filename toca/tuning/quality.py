"""How near pictures are to others, for a front."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .generations import psnr

RESAMPLES = 10_000


def decibels(made: np.ndarray, reference: np.ndarray) -> list[float]:
    """The PSNR of each sample, (B, ...) from 0 to 1 both; 0 where one is not finite."""
    found = [psnr(one, other) for one, other in zip(made, reference, strict=True)]
    return [value if math.isfinite(value) else 0.0 for value in found]


def bootstrap(values: Sequence[float]) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles of the means of draws with replacement. The draws are the same for every call
    with as many values, so that the same values give the same interval."""
    array = np.asarray(values, np.float64)
    draws = np.random.default_rng(0).integers(array.size, size=(RESAMPLES, array.size))
    low, high = np.quantile(array[draws].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean over the samples, and its interval, which holds it also where all are alike but for rounding."""
    mean, (low, high) = float(np.mean(values)), bootstrap(values)
    return mean, min(mean, low), max(mean, high)
