"""What to compare with what: the nearest speed-up, by its ratio."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

TOLERANCE = 0.15
"""Speed-ups further apart than by this share do not match."""

Key = TypeVar("Key")


def nearest(target: float, speedups: Mapping[Key, float]) -> Key:
    """The key whose speed-up has the ratio to `target` that is nearest to 1."""
    return min(speedups, key=lambda key: abs(math.log(speedups[key] / target)))


def matches(target: float, speedup: float) -> bool:
    """Whether two speed-ups are near enough to be called the same."""
    return abs(math.log(speedup / target)) <= math.log1p(TOLERANCE)
