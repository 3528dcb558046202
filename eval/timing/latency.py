"""Wall-clock time of several variants of the same work, taken in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from toca.tuning.turns import take_turns


@dataclass(frozen=True)
class Timing:
    """Seconds of one variant, one number a repeat, in the order taken."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def iqr(self) -> tuple[float, float]:
        """First and third quartile."""
        first, third = np.quantile(self.seconds, [0.25, 0.75])
        return float(first), float(third)


def interleaved(variants: Mapping[str, Callable[[], object]], repeats: int, warmups: int = 1) -> dict[str, Timing]:
    """The time of every variant, `repeats` times in turns after `warmups` rounds; see `take_turns`."""
    measurements = {name: partial(seconds_of, run) for name, run in variants.items()}
    return {name: Timing(tuple(taken)) for name, taken in take_turns(measurements, repeats, warmups).items()}


def paired_ratio(numerator: Timing, denominator: Timing) -> tuple[float, float, float]:
    """Median and quartiles of the ratio of two variants, turn by turn."""
    ratios = np.divide(numerator.seconds, denominator.seconds)
    first, median, third = np.quantile(ratios, [0.25, 0.5, 0.75])
    return float(median), float(first), float(third)


def seconds_of(run: Callable[[], object]) -> float:
    """Of one run, until the accelerator has done all of it."""
    synchronize()
    start = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - start


def synchronize() -> None:
    """Wait until the accelerator, if there is one, has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
