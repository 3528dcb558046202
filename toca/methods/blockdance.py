"""BlockDance: reuse of structurally similar features (Zhang et al., arXiv 2503.15927)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..axes.sampling import Sampling
from ..axes.spans import Span, skipped
from ..checks import Share, SomeLayers, SomeSteps, Steps, check
from ..models import Site
from ..registry import register
from .base import Method


@register
@dataclass(frozen=True)
class BlockDance(Method):
    """Once the structure of the picture stands, start every other step at a block in the middle, from what left the
    one before it in the last full step.

    **When**: steps round(start S) <= s < round(end S), but none of the first w and the last c, fall into groups of g;
    the first of each is computed in full, and so is every step outside. **Which**: in the others the blocks after the
    first b. **Fill**: the hidden states that left the b-th block in the group's first step.

    The window, the groups and the boundary are those of chitu's implementation; the paper's learned policy, a small
    network that chooses for each image, is not here.

    Args:
        blocks (`int`, defaults to 21): b; 21 of the 40 of Wan2.1-14B, 19 of FLUX.1-dev, all its blocks of two streams.
        interval (`int`, defaults to 2): g.
        start (`float`, defaults to 0.4): Where the window begins, as a share of the steps.
        end (`float`, defaults to 0.95): Where it ends.
        warmup_steps (`int`, defaults to 5): w.
        cooldown_steps (`int`, defaults to 5): c.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    blocks: SomeLayers = 21
    interval: SomeSteps = 2
    start: Share = 0.4
    end: Share = 0.95
    warmup_steps: SomeSteps = 5
    cooldown_steps: Steps = 5

    name: ClassVar[str] = "blockdance"
    title: ClassVar[str] = "Zhang et al., CVPR 2025, arXiv 2503.15927"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.start <= self.end, "start", self.start, f"must be at most `end`, {self.end}")

    def check_fits(self, sampling: Sampling) -> None:
        super().check_fits(sampling)
        most = sampling.layers - 1
        check(self.blocks <= most, "blocks", self.blocks, f"must be at most {most}: some of the blocks must run")

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return not self._joins_late(step, sampling) or not skipped(site.layer, self.spans(step, sampling))

    def _joins_late(self, step: int, sampling: Sampling) -> bool:
        """Whether a step starts in the middle of the stack."""
        steps = sampling.num_inference_steps
        first = max(self.warmup_steps, round(self.start * steps))
        stop = min(steps - self.cooldown_steps, round(self.end * steps))
        return first <= step < stop and (step - first) % self.interval > 0

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return (Span(0, self.blocks, keeps="output"),)
