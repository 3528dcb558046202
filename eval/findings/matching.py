"""What to compare with what: the setting nearest to a speed-up, and the uncached runs that take the same time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

TOLERANCE = 0.15
"""A setting whose speed-up is further away than by this share is not put beside others at that speed-up."""

REACH = 0.05
"""By this share of its time a run may be outside of those that it is compared with: so far the line through the two
nearest is followed. A run has a few numbers of steps, and the clock puts methods a percent beyond the last of them."""

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
    `target`. Where all are slower, or all are faster, these are the two nearest if no more than `REACH` is missing,
    one of them with a weight below 0; else the nearest alone.
    """
    slower = [i for i, speedup in enumerate(speedups) if speedup <= target]
    faster = [i for i, speedup in enumerate(speedups) if speedup >= target]
    if slower and faster:
        first, second = max(slower, key=lambda i: speedups[i]), min(faster, key=lambda i: speedups[i])
        return _on_line(target, speedups, first, second)
    order = sorted(range(len(speedups)), key=lambda i: abs(math.log(speedups[i] / target)))
    if abs(math.log(speedups[order[0]] / target)) > math.log1p(REACH):
        return {order[0]: 1.0}
    other = next((i for i in order if speedups[i] != speedups[order[0]]), order[0])
    return _on_line(target, speedups, order[0], other)


def _on_line(target: float, speedups: Sequence[float], first: int, second: int) -> dict[int, float]:
    """The weights by which the times of two runs make up that of `target`."""
    if speedups[first] == speedups[second]:
        return {first: 1.0}
    weight = (1 / target - 1 / speedups[second]) / (1 / speedups[first] - 1 / speedups[second])
    return {first: weight, second: 1 - weight}
