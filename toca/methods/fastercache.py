"""FasterCache: dynamic feature reuse (Lv et al., arXiv 2410.19355)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from ..axes.fills import Fill
from ..axes.fills.two_point import TwoPoint
from ..axes.sampling import Sampling
from ..checks import MOST_STEPS, Within
from ..models import Site
from ..registry import register
from .base import Method


@register
@dataclass(frozen=True)
class FasterCache(Method):
    """Compute attention on every other step only, and go on in between as it went before, the more so the later.

    The attention part of the method. **When** (section 3.2): attention is computed in its first calls, and from then
    on in every second one; all else in every step. **Which**: no token. **Fill** (equation 5): `A1 + (A1 - A0) w`, A1
    and A0 the last two that were computed. The paper lets w rise from 0 to 1 with the progress of sampling and leaves
    open how; here it is linear, w = s / (S - 1) in step s of S.

    Args:
        first_call (`int`, defaults to 7): The first call, counted from 1, that is not computed; at least 3.

    Raises:
        ValueError: If `first_call` is below 3: two must have been computed.
    """

    first_call: Annotated[int, Within(3, MOST_STEPS)] = 7

    name: ClassVar[str] = "fastercache"
    title: ClassVar[str] = "Lv et al., ICLR 2025, arXiv 2410.19355"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        later = step + 1 - self.first_call
        return site.attends is None or later < 0 or later % 2 == 1

    def filling(self) -> Fill:
        return TwoPoint("rising")
