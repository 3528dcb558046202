"""The control for token-wise methods: as many tokens, chosen by chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..checks import check
from ..models import Site
from ..sampling import Sampling
from ..schedule import FullStepSchedule
from ..selection import Selection
from .base import Method


@dataclass(frozen=True)
class RandomTokens(Method):
    """Between full steps recompute a random share of the tokens in every module but self-attention.

    A score that does not beat this one does not matter (DuCa v2, arXiv 2412.18911, reports that none does). All
    samples of a batch draw the same tokens, so that none depends on its batch-mates.

    Args:
        interval (`int`, defaults to 3): Every N-th step is full.
        fresh_ratio (`float`, defaults to 0.3): Share of tokens recomputed, from 0 to 1.
        seed (`int`, defaults to 0): Of the draws.

    Raises:
        ValueError: If `interval` is below 1 or `fresh_ratio` outside [0, 1].
    """

    interval: int = 3
    fresh_ratio: float = 0.3
    seed: int = 0

    name: ClassVar[str] = "random"

    def __post_init__(self) -> None:
        check(self.interval >= 1, "interval", self.interval, "must be at least 1")
        check(0 <= self.fresh_ratio <= 1, "fresh_ratio", self.fresh_ratio, "must lie between 0 and 1")

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return FullStepSchedule(self.interval).full_steps(sampling.num_inference_steps)[step]

    def share(self, site: Site, step: int, sampling: Sampling) -> float | None:
        return self.fresh_ratio if site.attends != "self" or self.fresh_ratio == 1 else None

    def selection(self) -> Selection:
        return Selection(score="random", seed=self.seed)
