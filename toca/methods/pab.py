"""PAB: Pyramid Attention Broadcast (Zhao et al., arXiv 2408.12588)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..axes.sampling import Sampling
from ..checks import SomeSteps, check
from ..models import Site
from ..registry import register
from .base import Method


@register
@dataclass(frozen=True)
class PAB(Method):
    """In the middle of sampling compute each kind of attention once and broadcast it to the steps that follow, the
    longer the less that kind changes from step to step.

    **When** (section 3.2): with n the calls of an attention before this one, it is computed if n mod range = 0 or
    unless lo < t < hi, t the scheduler's timestep; the range is that of its kind: spatial, temporal (over the frames
    of a position) or cross. All else is computed in every step. **Which**: no token. **Fill**: reuse.

    Args:
        spatial_range (`int`, *optional*, defaults to 2): Of self-attention over the tokens of an image or a frame, and
            of joint attention; `None` to compute it in every step.
        temporal_range (`int`, *optional*, defaults to 3): Of self-attention over the frames; `None` as above.
        cross_range (`int`, *optional*, defaults to 6): Of cross-attention; `None` as above.
        window (`tuple[float, float]`, defaults to `(100, 800)`): (lo, hi), timesteps from 1000 down to 0.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    spatial_range: SomeSteps | None = 2
    temporal_range: SomeSteps | None = 3
    cross_range: SomeSteps | None = 6
    window: tuple[float, float] = (100, 800)

    name: ClassVar[str] = "pab"
    title: ClassVar[str] = "Zhao et al., ICLR 2025, arXiv 2408.12588"
    reads_timesteps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.window
        check(low <= high, "window", self.window, "must be (lo, hi) with lo <= hi")

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        broadcast = self._range_of(site)
        low, high = self.window
        # Every attention is called once a step, so the step counts its calls.
        return broadcast is None or step % broadcast == 0 or not low < sampling.timesteps[step] < high

    def _range_of(self, site: Site) -> int | None:
        if site.attends == "self":
            return self.temporal_range if site.rows == "position" else self.spatial_range
        return self.cross_range if site.attends == "cross" else None
