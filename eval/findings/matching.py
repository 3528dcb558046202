"""What to compare with what: the setting nearest to a speed-up, and the uncached runs that take the same time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

TOLERANCE = 0.15
"""A setting whose speed-up is further away than by this share is not put beside others at that speed-up."""

Key = TypeVar("Key")


def nearest(target: float, speedups: Mapping[Key, float]) -> Key:
    """The key whose speed-up has the ratio to `target` that is nearest to 1."""
    return min(speedups, key=lambda key: abs(math.log(speedups[key] / target)))


def matches(target: float, speedup: float) -> bool:
    """Whether two speed-ups are near enough to be called the same."""
    return abs(math.log(speedup / target)) <= math.log1p(TOLERANCE)


def at_equal_time(target: float, speedups: Sequence[float]) -> dict[int, float]:
    """The runs that take as long as one of speed-up `target`, by their places, with their weights, which sum up to 1.

    These are the next slower and the next faster one, weighted so that their times (1 / speed-up) average to that of
    `target`; the outermost one alone where all are slower, or all are faster.
    """
    slower = [i for i, speedup in enumerate(speedups) if speedup <= target]
    faster = [i for i, speedup in enumerate(speedups) if speedup >= target]
    if not slower or not faster:
        return {(max if slower else min)(slower or faster, key=lambda i: speedups[i]): 1.0}
    first, second = max(slower, key=lambda i: speedups[i]), min(faster, key=lambda i: speedups[i])
    if speedups[first] == speedups[second]:
        return {first: 1.0}
    weight = (1 / target - 1 / speedups[second]) / (1 / speedups[first] - 1 / speedups[second])
    return {first: weight, second: 1 - weight}
