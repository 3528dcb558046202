"""The control for token-wise methods: as many tokens, chosen by chance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from ..axes.sampling import Sampling
from ..axes.schedule import FullStepSchedule
from ..axes.selections import Selection
from ..axes.selections.ranked import ByChance, SelfAttention
from ..checks import Seed, Share, SomeSteps
from ..models import Site
from ..registry import register
from .base import Method


@register
@dataclass(frozen=True)
class RandomTokens(Method):
    """Between full steps recompute a random share of the tokens in every module, but in self-attention if asked to.

    A score that does not beat this one does not matter (DuCa v2, arXiv 2412.18911, reports that none does). All
    samples of a batch draw the same tokens, so that none depends on its batch-mates.

    Args:
        interval (`int`, defaults to 3): Every N-th step is full.
        fresh_ratio (`float`, defaults to 0.3): Share of tokens recomputed, from 0 to 1.
        seed (`int`, defaults to 0): Of the draws.
        self_attention (`str`, defaults to `"whole"`): Reused `"whole"`; or `"chosen"`: made for the chosen tokens,
            which attend to all, to the others by the keys and values of their last computation.

    Raises:
        ValueError: If `interval` is below 1 or `fresh_ratio` outside [0, 1].
    """

    interval: SomeSteps = 3
    fresh_ratio: Share = 0.3
    seed: Seed = 0
    self_attention: SelfAttention = "whole"

    name: ClassVar[str] = "random"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return self._schedule.full_steps(sampling.num_inference_steps)[step]

    @cached_property
    def _schedule(self) -> FullStepSchedule:
        return FullStepSchedule(self.interval)

    def share(self, site: Site, step: int, sampling: Sampling) -> float | None:
        some = site.attends != "self" or self.self_attention == "chosen"
        return self.fresh_ratio if some or self.fresh_ratio == 1 else None

    def selection(self) -> Selection:
        return ByChance(seed=self.seed, self_attention=self.self_attention)
