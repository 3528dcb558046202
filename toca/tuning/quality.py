"""How near pictures are to others, for a front."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .generations import psnr

RESAMPLES = 2000


def decibels(made: np.ndarray, reference: np.ndarray) -> list[float]:
    """The PSNR of each sample, (B, ...) from 0 to 1 both; 0 where one is not finite."""
    found = [psnr(one, other) for one, other in zip(made, reference, strict=True)]
    return [value if math.isfinite(value) else 0.0 for value in found]


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean, and the bootstrap interval of 95 % over the samples; the same values give the same interval."""
    array = np.asarray(values, np.float64)
    chosen = np.random.default_rng(0).integers(0, len(array), (RESAMPLES, len(array)))
    low, high = np.quantile(array[chosen].mean(axis=1), (0.025, 0.975))
    mean = float(array.mean())
    return mean, min(mean, float(low)), max(mean, float(high))
