"""The choice of tokens for all layers at once, before the first block runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ...kernels.sending import sent
from ...models.shape import laid_out
from ...models.streams import IMAGE
from ..actions import Action, tokens_of
from .bonuses import best_tokens
from .group import Group, Grouping
from .scores import AttentionScore


class Ranking(Protocol):
    """What a group asks its selection."""

    @property
    def staleness_weight(self) -> float: ...

    def score(self, group: RankedGroup, step: int) -> torch.Tensor: ...

    def rating(self, modules: Sequence[str]) -> AttentionScore | None: ...

    def final_score(
        self, score: torch.Tensor, staleness: torch.Tensor | int, grid: tuple[int, int] | None, image: slice
    ) -> torch.Tensor: ...


class RankedGroup(Group):
    """Partial sites of one stack and module: same rows, same tokens, chosen together.

    One topk over all layers replaces one a layer; only where a step measures attention that the same step's choice
    reads (cross-attention before feed-forward) does a site choose for itself, when its turn comes. It has many
    attributes, for a step shall find at hand what a generation settles once.

    Args:
        selection (`Ranked`): What rates the tokens.
        grouping (`Grouping`): What the groups are made of.
        sites (`list[int]`): Indices of the group's sites in the layout.
        number (`int`): Tells the groups of a plan apart, for the random score.

    Attributes:
        counts (`torch.Tensor` or `None`): (sites, rows, tokens), float32: steps since a token was recomputed.
    """

    def __init__(self, selection: Ranking, grouping: Grouping, sites: list[int], number: int):
        site, key = grouping.layout.sites[sites[0]], grouping.key
        self.selection = selection
        measured = [grouping.layout.sites[grouping.sources[i]].module for i in sites[:1] if i in grouping.sources]
        self.rating = selection.rating(measured) if measured else None
        self.sites, self.number, self.device = sites, number, key.device
        self.sources = [grouping.sources.get(i) for i in sites]
        self.rows, self.tokens = site.geometry(key.shape)
        # Self-attention is made for all tokens beside the image's.
        self.among = site.chosen_of(key.shape) if site.attends == "self" else slice(0, self.tokens)
        self.choosable = self.among.stop - self.among.start
        self.repeats = self.rows // key.shape.batch
        self.paired = grouping.paired
        self._measured = [grouping.statistics[i] for i in sites if i in grouping.statistics]
        self._shape, self._rows_are = key.shape, (site.rows, site.rows)
        self._within: slice | None = None
        if self._measured:
            source = grouping.layout.sites[grouping.sources[sites[0]]]
            if set(source.parts) < set(site.parts):
                # What stands beside the measured tokens in the site's rows is rated 0 (the history in Helios).
                self._within = site.place(source.stream, key.shape)
            else:
                # Joint attention is measured over text and image; a site of one stream rates its own part (FLUX).
                own = source.place(site.stream, key.shape)
                self._measured = [statistic[..., own] for statistic in self._measured]
            self._rows_are = source.rows, site.rows
        self.image = site.place(IMAGE, key.shape) if site.has_image else slice(0, 0)
        self.common_grid = grouping.grid
        self.grid = grouping.grid if site.has_image else None
        self.counts: torch.Tensor | None = None
        if selection.staleness_weight:
            self.counts = torch.zeros(len(sites), self.chosen_rows, self.tokens, device=key.device)
        self._offsets = torch.arange(0, self.rows * self.tokens, self.tokens, device=key.device)[:, None]
        self._ranks = torch.arange(self.tokens, device=key.device)
        self._counts_of: dict[tuple[Action, ...], tuple[list[int], torch.Tensor]] = {}

    @property
    def statistics(self) -> list[torch.Tensor]:
        """Of each site's source what the attention has written, float32, in the rows of the site (rows, tokens): what
        was measured over a frame or a position is rated in its sample. Empty where nothing is measured."""
        have, want = self._rows_are
        if have == want:
            return self._measured if self._within is None else [self._padded(each) for each in self._measured]
        return [laid_out(each[..., None], self._shape, have, want)[..., 0] for each in self._measured]

    def _padded(self, statistic: torch.Tensor) -> torch.Tensor:
        padded = statistic.new_zeros(*statistic.shape[:-1], self.tokens)
        padded[..., self._within] = statistic
        return padded

    @property
    def chosen_rows(self) -> int:
        """Rows that choose for themselves: half of them where guidance branches share a choice."""
        return self.rows // 2 if self.paired else self.rows

    def tensors(self) -> list[torch.Tensor]:
        return [] if self.counts is None else [self.counts]

    def take_counts(self, other: Any, images: torch.Tensor, of: int) -> None:
        if self.counts is not None:
            counts = other.counts.unflatten(1, (-1, of, other.repeats))
            self.counts.copy_(counts.index_select(2, images).flatten(1, 3))

    def forget(self) -> None:
        if self.counts is not None:
            self.counts.zero_()

    def fresh_tokens(self, row: Sequence[Action]) -> tuple[list[int], torch.Tensor]:
        """How many tokens each site recomputes in a step, as numbers and as a tensor (sites, 1, 1)."""
        actions = tuple(row[i] for i in self.sites)
        if actions not in self._counts_of:
            numbers = [tokens_of(action, self.choosable) for action in actions]
            self._counts_of[actions] = numbers, sent(torch.tensor(numbers), self.device)[:, None, None]
        return self._counts_of[actions]

    def reads_this_step(self, measured: frozenset[int]) -> bool:
        return any(source in measured and source != i for i, source in zip(self.sites, self.sources, strict=True))

    def choose(self, row: Sequence[Action], step: int) -> list[torch.Tensor | None]:
        """Index (rows, k) over the batch for each site, `None` where it recomputes nothing or everything."""
        numbers, fresh = self.fresh_tokens(row)
        most = max((n for n in numbers if n < self.choosable), default=0)
        if not most:
            self._age(self.counts, None, fresh)
            return [None] * len(numbers)
        differ = None if all(n == most for n in numbers) else fresh
        order = self.order(self.selection.score(self, step), self.counts, most, differ)
        each = zip(order.unbind(), numbers, strict=True)
        return [_first(chosen, n) if 0 < n < self.choosable else None for chosen, n in each]

    def choose_late(self, position: int, row: Sequence[Action]) -> LateChoice | None:
        """The same for one site, once its statistic is up to date; `None` where there is nothing to choose."""
        numbers, fresh = self.fresh_tokens(row)
        part = slice(position, position + 1)
        counts = None if self.counts is None else self.counts[part]
        if not 0 < numbers[position] < self.choosable:
            self._age(counts, None, fresh[part])
            return None
        slots = torch.empty(numbers[position], device=self.device)
        return LateChoice(self, self.statistics[position][None], counts, slots)

    def rated(self, statistic: torch.Tensor) -> torch.Tensor:
        """Statistic (sites, rows, tokens) -> score (sites, rows that choose, tokens)."""
        assert self.rating is not None, "what is measured is rated"
        if self.paired:
            statistic = self.rating.merge(statistic.unflatten(1, (2, -1)))
        return self.rating.rate(statistic)

    def order(
        self, score: torch.Tensor, counts: torch.Tensor | None, most: int, fresh: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The `most` best tokens of each row, best first, counted over the batch: (sites, rows, most).

        Args:
            score (`torch.Tensor`): (sites, rows that choose, tokens).
            counts (`torch.Tensor` or `None`): The same shape, this part of `counts`; brought up to date.
            most (`int`): How many tokens each site recomputes, the largest of these numbers where they differ.
            fresh (`torch.Tensor`, *optional*): (sites, 1, 1): the numbers, where they differ.
        """
        staleness = 0 if counts is None else counts
        score = self.selection.final_score(score, staleness, self.grid, self.image)
        order = self._best(score, most)
        self._age(counts, order, fresh)
        if self.paired:
            order = torch.cat([order, order], dim=1)
        return order + self._offsets

    def _best(self, score: torch.Tensor, most: int) -> torch.Tensor:
        if self.choosable == self.tokens:
            return best_tokens(score, most)
        return best_tokens(score[..., self.among], most) + self.among.start

    def _age(self, counts: torch.Tensor | None, order: torch.Tensor | None, fresh: torch.Tensor | None) -> None:
        """Every token one step older; those chosen, and all of a site that computes whole, are new."""
        if counts is None:
            return
        counts.add_(1)
        if fresh is None:
            if order is not None:
                counts.scatter_(-1, order, 0.0)
            return
        counts.mul_(fresh < self.choosable)
        if order is not None:
            stays = self._ranks[: order.shape[-1]] >= fresh
            counts.scatter_(-1, order, counts.gather(-1, order) * stays)


@dataclass(eq=False)
class LateChoice:
    """A choice that waits for what its step measures. It is made of tensors, and the number of tokens is the size of
    one, so that compiled blocks trace it once for all layers and steps.

    Args:
        group (`RankedGroup`): The site's group.
        statistic, counts (`torch.Tensor`): The site's parts of the group's, (1, rows, tokens).
        slots (`torch.Tensor`): (k,): one for each token to choose.
    """

    group: RankedGroup
    statistic: torch.Tensor
    counts: torch.Tensor | None
    slots: torch.Tensor

    def __call__(self) -> torch.Tensor:
        """Index (rows, k) over the batch."""
        score = self.group.rated(self.statistic)
        return self.group.order(score, self.counts, self.slots.shape[0])[0]


def _first(chosen: torch.Tensor, count: int) -> torch.Tensor:
    """The first of the tokens (rows, most) of each row, to be gathered by without another copy."""
    return chosen if count == chosen.shape[1] else chosen[:, :count].contiguous()
