"""Wall-clock time of several variants of the same work, taken in turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch


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


def interleaved(variants: dict[str, Callable[[], object]], repeats: int, warmups: int = 1) -> dict[str, Timing]:
    """Time every variant `repeats` times, in turns, so that a slow moment of the machine hits all alike.

    Args:
        variants (`dict[str, Callable]`): What to run, by name.
        repeats (`int`): Measured rounds.
        warmups (`int`, defaults to 1): Rounds before them that are not counted.

    Returns:
        `dict[str, Timing]`: By name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(warmups + repeats):
        for name, run in variants.items():
            taken = _seconds(run)
            if turn >= warmups:
                seconds[name].append(taken)
    return {name: Timing(tuple(taken)) for name, taken in seconds.items()}


def paired_ratio(numerator: Timing, denominator: Timing) -> tuple[float, float, float]:
    """Median and quartiles of the ratio of two variants, turn by turn."""
    ratios = np.divide(numerator.seconds, denominator.seconds)
    first, median, third = np.quantile(ratios, [0.25, 0.5, 0.75])
    return float(median), float(first), float(third)


def _seconds(run: Callable[[], object]) -> float:
    _synchronize()
    start = time.perf_counter()
    run()
    _synchronize()
    return time.perf_counter() - start


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
