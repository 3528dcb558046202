"""AdaCache: adaptive caching for faster video generation (Kahatapitiya et al., arXiv 2411.02397)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..axes.gates import Gate, GateSizes, Observation, mean_per_image, relative_l1
from ..axes.sampling import Sampling
from ..checks import NonNegative, Share, SomeSteps, Steps, check
from ..models import Site
from ..registry import register
from .base import Method

Codebook = tuple[tuple[NonNegative, SomeSteps], ...]
FAST_30: Codebook = ((0.08, 6), (0.16, 5), (0.24, 4), (0.32, 3), (0.40, 2), (1.0, 1))
"""Of Open-Sora in 30 steps."""

USUAL_MOTION, MOTION_POWER, MOTION_GRADIENT = 0.385, 8, 10.0
"""With these the authors' code regularises: the motion that leaves the rate as it is, its power, and the weight of how
it changes."""


@register
@dataclass(frozen=True)
class ResidualRate(Gate):
    """AdaCache's gate: opens after as many steps as a codebook says for how fast a block's residual has changed.

    Args:
        codebook (`tuple`): Pairs (distance, steps to the next one computed), distances rising.
        threshold (`float`, defaults to 1): By which the distances of the codebook are multiplied.
        depth (`float`, defaults to 0.5): Which block, as a share of the stack.
        motion (`bool`, defaults to `True`): Whether the motion of a video counts.
        motion_window (`tuple[float, float]`, defaults to `(0.1, 0.9)`): In which share of the steps it does.
        per_sample (`bool`, defaults to `True`): Whether each image of a batch decides for itself.
    """

    codebook: Codebook
    threshold: NonNegative = 1.0
    depth: Share = 0.5
    motion: bool = True
    motion_window: tuple[Share, Share] = (0.1, 0.9)
    per_sample: bool = True

    name: ClassVar[str] = "residual-rate"
    reads_grid: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        distances = [distance for distance, _ in self.codebook]
        rising = bool(distances) and distances == sorted(set(distances))
        check(rising, "codebook", self.codebook, "must be pairs whose distances rise")

    def watched_layer(self, layers: int) -> int:
        return int(self.depth * (layers - 1))

    def opens(self, now: Observation) -> torch.Tensor:
        return now.step - now.memory["computed_at"] >= now.memory["rate"]

    def observe(self, now: Observation, computed: bool) -> None:
        if not computed:
            return
        memory, ones = now.memory, torch.ones(len(now.added), device=now.added.device)
        if "residual" in memory:
            gap = now.step - memory["computed_at"]
            distance = relative_l1(now.added, memory["residual"]) / gap
            memory["rate"] = self._rate(distance * self._motion(now, gap))
        else:
            memory["rate"] = ones
            memory |= {"motion": ones} if self.motion else {}
        memory["residual"], memory["computed_at"] = now.added, now.step * ones

    def _rate(self, distance: torch.Tensor) -> torch.Tensor:
        """Steps to the next one computed; one where the distance is no number."""
        rate = torch.full_like(distance, self.codebook[-1][1])
        for bound, steps in reversed(self.codebook[:-1]):
            rate = torch.where(distance < self.threshold * bound, float(steps), rate)
        return torch.where(distance.isfinite(), rate, 1.0)

    def _motion(self, now: Observation, gap: torch.Tensor) -> torch.Tensor | float:
        """What the distance is multiplied by: the motion, and how it has changed."""
        if not self.motion:
            return 1.0
        before, motion = now.memory["motion"], self._motion_now(now)
        now.memory["motion"] = motion
        return motion + (MOTION_GRADIENT * (motion - before) / gap).abs()

    def _motion_now(self, now: Observation) -> torch.Tensor:
        """1 outside of the window, of a single frame, and where the motion is the usual one."""
        first, last = (share * now.num_inference_steps for share in self.motion_window)
        if now.grid is None or now.grid[0] == 1 or not first <= now.step + 1 <= last:
            return torch.ones_like(now.memory["motion"])
        frames = now.added.unflatten(-2, (now.grid[0], -1)).movedim(-3, 1)
        later, earlier = frames[:, 1:], frames[:, :-1]
        size = mean_per_image(later.abs()) + mean_per_image(earlier.abs())
        return (mean_per_image((later - earlier).abs()) / size / USUAL_MOTION) ** MOTION_POWER

    def bytes_kept(self, sizes: GateSizes) -> int:
        return sizes.hidden + 4 * (3 if self.motion else 2) * sizes.images


@register
@dataclass(frozen=True)
class AdaCache(Method):
    """Each time that everything is computed, say from how fast a block in the middle changes when to do so again.

    **When** (section 3.2): with p what that block adds to its input, k the steps since it was last computed (p'),
    `c = |p' - p|_1 / (k |p'|_1)`; the next step computed is as many steps ahead as the codebook has for the first
    distance that c is below, or for its last one. The first two steps and the last ones are computed. **Motion**
    (section 3.3): c is multiplied by m + 10 |m - m'| / k, `m = (|p_late - p_early|_1 / (|p_late|_1 + |p_early|_1) /
    0.385)^8` of neighbouring frames, m' the one before; m is 1 outside a window of steps. **Which**: no token.
    **Fill**: reuse.

    The authors look at what the temporal attention of Open-Sora's 14th pair of blocks adds; here it is what the whole
    block does, so that their thresholds are a guide. They reuse outputs with their gates, and here the gate is new.

    Args:
        codebook (`tuple`): Pairs (distance, steps to the next one computed), distances rising; by default that of
            AdaCache-fast for 30 steps of Open-Sora.
        threshold (`float`, defaults to 1): By which the distances of the codebook are multiplied.
        depth (`float`, defaults to 0.5): Which block is looked at: the floor of this share of the last one's number.
        motion (`bool`, defaults to `True`): Whether the motion of a video counts.
        motion_window (`tuple[float, float]`, defaults to `(0.1, 0.9)`): In which share of the steps it does.
        cooldown_steps (`int`, defaults to 2): Last steps that are computed.
        per_sample (`bool`, defaults to `True`): Whether each image of a batch decides for itself.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    codebook: Codebook = FAST_30
    threshold: NonNegative = 1.0
    depth: Share = 0.5
    motion: bool = True
    motion_window: tuple[Share, Share] = (0.1, 0.9)
    cooldown_steps: Steps = 2
    per_sample: bool = True

    name: ClassVar[str] = "adacache"
    title: ClassVar[str] = "Kahatapitiya et al., ICCV 2025, arXiv 2411.02397"
    knob: ClassVar[str | None] = "threshold"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.gate()

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return not 1 < step < sampling.num_inference_steps - self.cooldown_steps

    def gate(self) -> Gate:
        return ResidualRate(
            self.codebook, self.threshold, self.depth, self.motion, self.motion_window, self.per_sample
        )
