"""A fill for each segment of a plan: what a planner found best between two full steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from ...checks import Steps, check
from ...registry import register
from ..sampling import Timeline
from .base import Fill
from .mixing import Mixture


@register
@dataclass(frozen=True)
class Segments(Mixture):
    """In each step the fill that its label names.

    Args:
        fills (`tuple[Fill, ...]`): All that occur; they must keep the same terms.
        labels (`tuple[int, ...]`): For each step of the generation the place in `fills` of the one that fills it; of a
            step that computes everything it does not matter.

    Raises:
        ValueError: If a label names no fill, or the fills cannot be mixed.
    """

    fills: tuple[Fill, ...]
    labels: tuple[Steps, ...]

    name: ClassVar[str] = "segments"

    def __post_init__(self) -> None:
        check(bool(self.fills), "fills", self.fills, "must name at least one")
        super().__post_init__()
        most = max(self.labels, default=0)
        check(most < len(self.fills), "labels", most, f"must be below {len(self.fills)}, the number of fills")

    @property
    def parts(self) -> tuple[Fill, ...]:
        return self.fills

    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        return self.weights_of(self.fills[self.labels[step]], step, history, timeline)

    @property
    def adds_latents(self) -> bool:
        return any(fill.adds_latents for fill in self.fills)

    def latents_weight(self, step: int) -> float:
        return self.fills[self.labels[step]].latents_weight(step)

    def check_steps(self, num_inference_steps: int) -> None:
        super().check_steps(num_inference_steps)
        wanted = f"must be one for each of the {num_inference_steps} steps"
        check(len(self.labels) == num_inference_steps, "labels", len(self.labels), wanted)

    def estimate(
        self,
        kept: Sequence[tuple[torch.Tensor, torch.Tensor]],
        latents: torch.Tensor,
        step: int,
        history: Sequence[int],
        timeline: Timeline,
    ) -> torch.Tensor:
        return self.fills[self.labels[step]].estimate(kept, latents, step, history, timeline)
