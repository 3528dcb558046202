"""One token of each cluster: the tokens are clustered when a step has been computed in full (ClusCa)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from ...checks import MOST_CLUSTERS, Seed, Share, Within
from ...kernels.kmeans import k_means, k_means_flops
from ...kernels.rows import take_rows
from ...kernels.sending import sent
from ...models.layout import Layout
from ...models.shape import CallShape, laid_out
from ...models.site import Site
from ...models.streams import IMAGE
from ...registry import register
from ..actions import Action
from .base import COUNT_BYTES, Selection
from .bonuses import random_score
from .group import Group, Grouping


@register
@dataclass(frozen=True)
class ByCluster(Selection):
    """One token of each cluster, drawn for each step and site, whatever the share (Zheng et al., arXiv 2509.10312).

    Args:
        clusters (`int`): K.
        smoothing (`float`, defaults to 0.0): gamma: how far the other tokens of a cluster are moved towards the one
            that is computed.
        seed (`int`, defaults to 0): Of the draws.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    clusters: Annotated[int, Within(1, MOST_CLUSTERS)]
    smoothing: Share = 0.0
    seed: Seed = 0

    name: ClassVar[str] = "cluster"
    observes: ClassVar[bool] = True

    def fresh_tokens(self, site: Site, row: tuple[Action, ...], i: int, shape: CallShape) -> int:
        return self.clusters_of(site.image_tokens(shape))

    def clusters_of(self, tokens: int) -> int:
        """K; fewer only where there are fewer tokens."""
        return min(self.clusters, tokens)

    def observe(self, layout: Layout, shape: CallShape, leaving: torch.Tensor) -> torch.Tensor:
        """The cluster of each image token, of each frame where blocks attend within frames."""
        rows = layout.sites[-1].rows
        features = laid_out(leaving, shape, rows, "frame" if rows == "position" else rows)
        return k_means(features, self.clusters_of(features.shape[1])).int()

    def observing_flops(self, layout: Layout, shape: CallShape) -> int:
        rows, tokens = layout.image_rows(shape)
        return k_means_flops(rows, tokens, layout.width, self.clusters_of(tokens))

    def bytes_kept(self, layout: Layout, sites: Sequence[int], shape: CallShape, itemsize: int, paired: bool) -> int:
        """The cluster of each token."""
        return shape.batch * shape.image_tokens * COUNT_BYTES if sites else 0

    def groups(self, grouping: Grouping) -> list[Group]:
        return [
            ClusterGroup(self, grouping, sites, number) for number, sites in enumerate(grouping.by_stack_and_module)
        ]


class ClusterGroup(Group):
    """Partial sites of one stack and module; each computes one token of every cluster, drawn for each step and site.

    Every sample has its own clusters, and of each cluster the token is computed that comes last in a random order of
    the tokens; it is the same order for all samples, so that none depends on its batch-mates. For a cluster without
    members the first token of that order is computed. Text has no clusters.

    Args:
        selection (`ByCluster`): How many clusters.
        grouping (`Grouping`): What the groups are made of.
        sites (`list[int]`): Indices of the group's sites in the layout.
        number (`int`): Tells the groups of a plan apart, for the draw.
    """

    def __init__(self, selection: ByCluster, grouping: Grouping, sites: list[int], number: int):
        site, shape = grouping.layout.sites[sites[0]], grouping.key.shape
        self.sites, self.number, self.selection = sites, number, selection
        self.labels, self.device = grouping.labels, grouping.key.device
        self.clusters = selection.clusters_of(site.image_tokens(shape))
        self.image = site.place(IMAGE, shape)
        self._rows, self._row_tokens = site.geometry(shape)

    def choose(self, row: Sequence[Action], step: int) -> list[torch.Tensor | None]:
        """Index (rows, K) over the batch for each site, `None` where it recomputes nothing or everything."""
        labels, device = self.labels().long(), self.device
        if self.selection.smoothing:
            self.spread = Nudge(labels, self.selection.smoothing, self.image)
        seed, tokens = self.selection.seed, labels.shape[1]
        draws = torch.stack([random_score(seed, tokens, (step, self.number, i)) for i in self.sites])
        order = draws.argsort(dim=1)
        places = sent(order.argsort(dim=1), device)[:, None].expand(-1, *labels.shape)
        last = places.new_full((len(self.sites), len(labels), self.clusters), 0)
        last.scatter_reduce_(2, labels.expand_as(places), places, "amax")
        chosen = sent(order, device)[:, None].expand_as(places).gather(2, last)
        offsets = torch.arange(self._rows, device=device)[:, None] * self._row_tokens + self.image.start
        picking = [row[i].picks_tokens for i in self.sites]
        return [index if picks else None for index, picks in zip(chosen + offsets, picking, strict=True)]


@dataclass(eq=False)
class Nudge:
    """Moves every token of a cluster towards the one that has been computed: filled + gamma (fresh - filled).

    Args:
        labels (`torch.Tensor`): (rows, image tokens), int64.
        smoothing (`float`): gamma.
        image (`slice`): Place of the image tokens in a row; text stays as it is.
    """

    labels: torch.Tensor
    smoothing: float
    image: slice

    def __call__(self, filled: torch.Tensor, index: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """`filled` (rows, tokens, C), written to; `rows` (rows, K, C) are the computed tokens, one a cluster."""
        firsts = torch.arange(rows.shape[0], device=rows.device)[:, None] * rows.shape[1]
        fresh = take_rows(rows, self.labels + firsts)
        filled[:, self.image].lerp_(fresh, self.smoothing)
        return filled
