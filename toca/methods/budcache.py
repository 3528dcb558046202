"""BudCache: the best mask for a budget (arXiv 2606.13496)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from ..axes.sampling import Sampling
from ..axes.spans import Span
from ..checks import Seed, SomeSteps
from ..models import Site
from ..registry import register
from .base import Method


@register
@dataclass(frozen=True)
class BudCache(Method):
    """A given number of full steps where BudCache's search starts; between them what the stack of blocks added is
    reused.

    **When**: of B full steps the first max(1, B // 4) are the first of the generation, and the others are drawn. From
    there the authors search by simulated annealing and hill climbing for the mask with the least mean squared error
    of the final latents; `toca.tuning.budcache` has this search. Their masks are not published. What a search has
    found is a plan: of `toca tune`, or `lemica` with its `full_steps`, which fills alike. **Fill**: the residual of
    the whole stack in the last full step, added to what enters it now.

    Args:
        budget (`int`, defaults to 10): B; with fewer steps than that all are full.
        seed (`int`, defaults to 0): Of the draw.
    """

    budget: SomeSteps = 10
    seed: Seed = 0

    name: ClassVar[str] = "budcache"
    title: ClassVar[str] = "ICML 2026, arXiv 2606.13496"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step in starting_mask(sampling.num_inference_steps, self.budget, self.seed)

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return (Span(0, sampling.layers),)


def starting_mask(num_steps: int, budget: int, seed: int) -> tuple[int, ...]:
    """The full steps that the search starts from, rising."""
    first = first_steps(budget)
    budget = min(budget, num_steps)
    if budget <= first:
        return tuple(range(budget))
    return (*range(first), *sorted(random.Random(f"start {seed}").sample(range(first, num_steps), budget - first)))


def first_steps(budget: int) -> int:
    """The first steps, which are full in every mask."""
    return max(1, budget // 4)
