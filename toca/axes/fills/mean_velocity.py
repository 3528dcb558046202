"""The mean velocity of flow matching, read off the latents: MeanCache (arXiv 2601.19961)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from ...checks import Within
from ...registry import register
from ..sampling import TRAIN_TIMESTEPS, Timeline
from .base import Fill
from .renewal import Renewal, shifted


@register
@dataclass(frozen=True)
class MeanVelocity(Fill):
    """`v - J (sigma_(s+1) - sigma_s)` in step s, v the last step's output, filled or not; J is how the velocity has
    changed along the way that the latents went.

    With r the K-th last step, x and v the latents before a step and the model's output in it:
    `u = (x_s - x_r) / (sigma_s - sigma_r)`, the mean velocity from r on, and `J = (v_r - u) / (sigma_s - sigma_r)`
    (section 3 of the paper). K = 1 is plain reuse under Euler's rule.

    It is for flow matching, where sigma is the timestep over 1000, and for spans around the model.

    Args:
        look_back (`int`, defaults to 2): K, from 1 to 6.
    """

    look_back: Annotated[int, Within(1, 6)] = 2

    name: ClassVar[str] = "mean-velocity"
    reads_timesteps: ClassVar[bool] = True
    reads_latents: ClassVar[bool] = True

    @property
    def renewal(self) -> Renewal:
        return shifted

    @property
    def kept(self) -> int:
        return self.look_back - 1

    @property
    def term_kind(self) -> Hashable:
        return "values"

    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        """Of the last outputs alone; the latents count in `estimate`."""
        return [1.0, *[0.0] * self.kept]

    def estimate(
        self,
        kept: Sequence[tuple[torch.Tensor, torch.Tensor]],
        latents: torch.Tensor,
        step: int,
        history: Sequence[int],
        timeline: Timeline,
    ) -> torch.Tensor:
        back = min(self.look_back, len(kept))
        (last, _), (velocity, before) = kept[0], kept[back - 1]
        sigmas = [timestep / TRAIN_TIMESTEPS for timestep in (*timeline.timesteps, 0.0)]
        way, next_way = sigmas[step] - sigmas[history[back - 1]], sigmas[step + 1] - sigmas[step]
        mean = (latents.float() - before.float()) / way
        change = (velocity.float() - mean) / way
        return (last.float() - next_way * change).to(last.dtype)
