"""On from the last computed value along the way from the one before it: FasterCache, DiCache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from ...registry import register
from ..sampling import Timeline
from .base import Fill


@register
@dataclass(frozen=True)
class TwoPoint(Fill):
    """`A1 + w (A1 - A0)`, A1 and A0 the last two that were computed.

    Args:
        weight (`str`, defaults to `"rising"`): w: `"rising"` for s / (S - 1) in step s of S (Lv et al., arXiv
            2410.19355, equation 5, which lets it rise from 0 to 1); `"gate"` for what the gate tells of each image (Bu
            et al., arXiv 2508.17356, section 3.3), 0 where it tells nothing; `"none"` for 0.
    """

    weight: Literal["rising", "gate", "none"] = "rising"

    name: ClassVar[str] = "two-point"

    @property
    def reads_history(self) -> bool:  # type: ignore[override]
        return self.weight == "rising"

    @property
    def reads_gate(self) -> bool:  # type: ignore[override]
        return self.weight == "gate"

    @property
    def kept(self) -> int:
        return 1

    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        rises = self.weight == "rising" and len(history) > 1
        return [1.0, step / (timeline.num_inference_steps - 1) if rises else 0.0]

    def without_gate(self) -> TwoPoint:
        return replace(self, weight="none") if self.reads_gate else self
