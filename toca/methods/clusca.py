"""ClusCa: cluster-driven feature caching (Zheng et al., arXiv 2509.10312)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from ..axes.fills import Fill
from ..axes.sampling import Sampling
from ..axes.selections import Selection
from ..axes.selections.clustered import ByCluster
from ..checks import Clusters, Order, Seed, Share, SomeSteps
from ..models import Site
from ..registry import register
from .base import Method
from .taylorseer import TaylorSeer

CLUSTERED = ("ff", "block")
"""Modules that compute one token of each cluster."""


@register
@dataclass(frozen=True)
class ClusCa(Method):
    """Between full steps, forecast all features, but compute the feed-forward on one token of each cluster and let the
    others of the cluster follow it.

    **When**: TaylorSeer's full steps: the first k, then every N-th. **Which** (section 3): after each full step the
    image tokens are clustered by K-means of what leaves the last block, for each sample and frame by itself, from
    evenly spaced tokens; in the other steps each feed-forward computes a random token c(j) of every cluster j.
    **Fill** (section 3): attention, text and all other tokens are forecast as by TaylorSeer of order O, and a token i
    of cluster j follows the computed one: `forecast_i + gamma (fresh_c(j) - forecast_i)`; c(j) itself is exact.

    In FLUX's single blocks the fused output of attention and feed-forward is what is computed and filled, with the
    forecast attention in it. The blocks of a video model that attend over time are forecast whole.

    Args:
        interval (`int`, defaults to 5): N.
        clusters (`int`, defaults to 16): K, whatever the number of tokens.
        smoothing (`float`, defaults to 0.0): gamma, from 0 to 1.
        order (`int`, defaults to 2): O, the highest derivative.
        warmup_steps (`int`, defaults to 3): k, the first steps that are full.
        seed (`int`, defaults to 0): Of the draws within clusters.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    interval: SomeSteps = 5
    clusters: Clusters = 16
    smoothing: Share = 0.0
    order: Order = 2
    warmup_steps: SomeSteps = 3
    seed: Seed = 0

    name: ClassVar[str] = "clusca"
    title: ClassVar[str] = "Zheng et al., 2025, arXiv 2509.10312"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return self._forecast.computes(site, step, sampling)

    def share(self, site: Site, step: int, sampling: Sampling) -> float | None:
        """K of the tokens of an image of the model's own size; it is K at any size."""
        clustered = site.module in CLUSTERED and site.has_image
        return self.clusters / site.geometry(sampling.layout.default_shape)[1] if clustered else None

    def selection(self) -> Selection:
        return ByCluster(clusters=self.clusters, smoothing=self.smoothing, seed=self.seed)

    def filling(self) -> Fill:
        return self._forecast.filling()

    @cached_property
    def _forecast(self) -> TaylorSeer:
        return TaylorSeer(interval=self.interval, order=self.order, warmup_steps=self.warmup_steps)
