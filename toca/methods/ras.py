"""RAS: region-adaptive sampling (Liu et al., arXiv 2502.10389)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..axes.sampling import Sampling
from ..axes.selections import Selection
from ..axes.selections.whole_stack import ByPrediction
from ..checks import NonNegative, SomeShare, SomeSteps, Steps
from ..models import Site
from ..models.streams import IMAGE
from ..registry import register
from .base import Method


@register
@dataclass(frozen=True)
class RAS(Method):
    """Between dense steps, run the model on the part of the image that it is at work on.

    **When**: the first steps and a few later ones, which stop errors from piling up, are dense. **Which** (section 3):
    in the others the tokens of the highest score go through all blocks and the rest are dropped before the first:
    `R = mean over the token's pixels of std_channels(v) x exp(kappa d)`, v the model's last prediction for the token
    and d how often it has been dropped since the generation began. **Fill** (section 3): a dropped token keeps the
    model's last output for it; to attention it stays visible, for its last keys and values are remembered. Text is
    never dropped.

    The guidance branches of a batch share one choice, made by the mean of their two predictions (the guided one is not
    known to the model); separate calls choose for themselves.

    Args:
        sample_ratio (`float`, defaults to 0.5): Share of the tokens that are active.
        starvation (`float`, defaults to 0.1): kappa; the larger, the more the tokens take turns.
        warmup_steps (`int`, defaults to 4): First steps that are dense.
        dense_steps (`tuple[int, ...]`, defaults to `(12, 22)`): Later steps that are dense, counted from 0; the
            published ones are for 28 steps.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    sample_ratio: SomeShare = 0.5
    starvation: NonNegative = 0.1
    warmup_steps: SomeSteps = 4
    dense_steps: tuple[Steps, ...] = (12, 22)

    name: ClassVar[str] = "ras"
    title: ClassVar[str] = "Liu et al., CVPR 2026, arXiv 2502.10389"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step < self.warmup_steps or step in self.dense_steps

    def share(self, site: Site, step: int, sampling: Sampling) -> float | None:
        return self.sample_ratio if IMAGE in site.parts else 1.0

    def selection(self) -> Selection:
        return ByPrediction(starvation=self.starvation)
