"""The one number of a method that trades quality for speed, as data: what a search for a budget turns."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..checks import check, check_fields


@dataclass(frozen=True)
class Knob:
    """A field of a method, and how far a search goes. A larger value computes less.

    Args:
        field (`str`): Its name.
        least, most (`float`): Bounds of the search, both above 0: it goes by the logarithm.

    Raises:
        ValueError: If the bounds are none.
    """

    field: str
    least: float = 1e-4
    most: float = 100.0

    def __post_init__(self) -> None:
        check_fields(self)
        check(0 < self.least < self.most, "least", self.least, f"must be above 0 and below {self.most:g}")

    @staticmethod
    def between(low: float, high: float, part: float = 0.5) -> float:
        """The value a part of the way from one to another, by the logarithm."""
        return math.exp(math.log(low) * (1 - part) + math.log(high) * part)
