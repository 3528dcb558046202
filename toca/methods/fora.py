"""FORA: Fast-Forward Caching (Selvaraju et al., arXiv 2407.01425)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from ..axes.sampling import Sampling
from ..axes.schedule import FullStepSchedule
from ..checks import SomeSteps
from ..models import Site
from ..registry import register
from .base import Method


@register
@dataclass(frozen=True)
class FORA(Method):
    """Compute everything on every N-th step; between them reuse the attention and feed-forward outputs whole.

    What is reused is the output before the adaLN gate: gate, shift and scale follow the current timestep.

    Args:
        interval (`int`, defaults to 3): N (section 3.2).
        counts_down (`bool`, defaults to `True`): Whether the step index that N divides runs from S - 1 to 0, as in the
            authors' DiT code, so that the last step is full. The first step is full either way.

    Raises:
        ValueError: If `interval` is below 1.
    """

    interval: SomeSteps = 3
    counts_down: bool = True

    name: ClassVar[str] = "fora"
    title: ClassVar[str] = "Selvaraju et al., 2024, arXiv 2407.01425"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return self._schedule.full_steps(sampling.num_inference_steps)[step]

    @cached_property
    def _schedule(self) -> FullStepSchedule:
        return FullStepSchedule(self.interval, counts_down=self.counts_down)
