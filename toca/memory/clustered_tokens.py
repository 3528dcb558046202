"""One token of each cluster: the tokens are clustered when a step has been computed in full (ClusCa)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..axes.actions import Action
from ..engine.span_ends import laid_out
from ..kernels.kmeans import k_means, k_means_flops
from ..kernels.rows import take_rows
from ..models import CallShape
from .scored_tokens import Group

if TYPE_CHECKING:
    from ..plan import Plan
    from .branch import Branch


def cluster_tokens(plan: Plan, shape: CallShape, leaving: torch.Tensor) -> torch.Tensor:
    """The clusters of the image tokens of each frame by what leaves the last block.

    Args:
        plan (`Plan`): The plan; its selection says how many clusters.
        shape (`CallShape`): Of the call.
        leaving (`torch.Tensor`): (rows, tokens of a row, C).

    Returns:
        `torch.Tensor`: (samples x frames, tokens), int32: the cluster of each token.
    """
    rows = plan.layout.sites[-1].rows
    features = laid_out(leaving, shape, rows, "frame" if rows == "position" else rows)
    return k_means(features, clusters_of(plan, shape)).int()


def clustering_flops(plan: Plan, shape: CallShape) -> int:
    """FLOPs of `cluster_tokens`."""
    return k_means_flops(shape.batch * shape.frames, shape.tokens, plan.layout.width, clusters_of(plan, shape))


def clusters_of(plan: Plan, shape: CallShape) -> int:
    """K; fewer only where there are fewer tokens."""
    return min(plan.selection.clusters, shape.tokens)


class ClusterGroup(Group):
    """Partial sites of one stack and module; each computes one token of every cluster, drawn for each step and site.

    Every sample has its own clusters, and of each cluster the token is computed that comes last in a random order of
    the tokens; it is the same order for all samples, so that none depends on its batch-mates. For a cluster without
    members the first token of that order is computed. Text has no clusters.

    Args:
        plan (`Plan`): The plan.
        sites (`list[int]`): Indices of the sites in the plan's layout.
        branch (`Branch`): Holds the clusters.
        number (`int`): Tells the groups of a plan apart, for the draw.
    """

    def __init__(self, plan: Plan, sites: list[int], branch: Branch, number: int):
        site, shape = plan.layout.sites[sites[0]], branch.key.shape
        self.sites, self.branch, self.number, self.selection = sites, branch, number, plan.selection
        self.clusters = clusters_of(plan, shape)
        self.text_tokens = shape.text_tokens if site.stream == "joint" else 0
        self._rows, self._row_tokens = site.geometry(shape)

    def choose(self, row: Sequence[Action], step: int) -> list[torch.Tensor | None]:
        """Index (rows, K) over the batch for each site, `None` where it recomputes nothing or everything."""
        labels, device = self.branch.clusters.long(), self.branch.key.device
        if self.selection.smoothing:
            self.spread = Nudge(labels, self.selection.smoothing, self.text_tokens)
        draws = torch.stack([self.selection.random_score(labels.shape[1], (step, self.number, i)) for i in self.sites])
        order = draws.argsort(dim=1)
        places = order.argsort(dim=1).to(device)[:, None].expand(-1, *labels.shape)
        last = places.new_full((len(self.sites), len(labels), self.clusters), 0)
        last.scatter_reduce_(2, labels.expand_as(places), places, "amax")
        tokens = order.to(device)[:, None].expand_as(places).gather(2, last)
        offsets = torch.arange(self._rows, device=device)[:, None] * self._row_tokens + self.text_tokens
        picking = [row[i].picks_tokens for i in self.sites]
        return [index if picks else None for index, picks in zip(tokens + offsets, picking, strict=True)]


@dataclass(eq=False)
class Nudge:
    """Moves every token of a cluster towards the one that has been computed: filled + gamma (fresh - filled).

    Args:
        labels (`torch.Tensor`): (rows, image tokens), int64.
        smoothing (`float`): gamma.
        text_tokens (`int`): Text tokens before the image tokens; they stay as they are.
    """

    labels: torch.Tensor
    smoothing: float
    text_tokens: int

    def __call__(self, filled: torch.Tensor, index: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """`filled` (rows, tokens, C), written to; `rows` (rows, K, C) are the computed tokens, one a cluster."""
        firsts = torch.arange(rows.shape[0], device=rows.device)[:, None] * rows.shape[1]
        fresh = take_rows(rows, self.labels + firsts)
        filled[:, self.text_tokens :].lerp_(fresh, self.smoothing)
        return filled
