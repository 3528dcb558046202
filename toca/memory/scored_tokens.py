"""The choice of tokens for all layers at once, before the first block runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..axes.actions import Action, tokens_of
from ..axes.selection import best_tokens

if TYPE_CHECKING:
    from ..plan import Plan
    from .branch import CallKey


class Group:
    """Sites that choose their tokens together, and what is remembered for the choice.

    Attributes:
        sites (`list[int]`): Indices of the sites in the plan's layout.
        common_grid (`tuple[int, int]` or `None`): Rows and columns of the image tokens of one frame.
        spread (`Callable` or `None`): What the chosen tokens do to the others: `(filled, index, rows) -> filled`.
    """

    sites: list[int]
    common_grid: tuple[int, int] | None = None
    spread: Callable | None = None

    def tensors(self) -> list[torch.Tensor]:
        """What is held between steps."""
        return []

    def take_counts(self, other: Group, images: torch.Tensor, of: int) -> None:
        """Go on with what is remembered of some of another group's images.

        Args:
            other (`Group`): The same sites, more images.
            images (`torch.Tensor`): (n,): which of them.
            of (`int`): How many images the other group has.
        """

    def forget(self) -> None:
        """All tokens are fresh: a full step."""

    def reads_this_step(self, measured: frozenset[int]) -> bool:
        """Whether a choice must wait for what another site of this step measures."""
        return False


class TokenGroup(Group):
    """Partial sites of one stack and module: same rows, same tokens, chosen together.

    One topk over all layers replaces one a layer; only where a step measures attention that the same step's choice
    reads (cross-attention before feed-forward) does a site choose for itself, when its turn comes.

    Args:
        plan (`Plan`): The plan.
        sites (`list[int]`): Indices of the sites in the plan's layout.
        key (`CallKey`): Shape and device.
        paired (`bool`): Whether the batch's halves are guidance branches that share one choice.
        grid (`tuple[int, int]` or `None`): Rows and columns of the image tokens of one frame.
        statistics (`list[torch.Tensor]`): Of each site's source, (rows, tokens of the source), float32; written by the
            attention. Empty where tokens are chosen by chance.
        number (`int`): Tells the groups of a plan apart, for the random score.

    Attributes:
        counts (`torch.Tensor` or `None`): (sites, rows, tokens), float32: steps since a token was recomputed.
    """

    def __init__(
        self,
        plan: Plan,
        sites: list[int],
        key: CallKey,
        paired: bool,
        grid: tuple[int, int] | None,
        statistics: list[torch.Tensor],
        number: int,
    ):
        site = plan.layout.sites[sites[0]]
        self.selection = plan.selection
        self.score = self.selection.score_for(plan.modules_of(site.layer))
        self.sites, self.number, self.device = sites, number, key.device
        self.sources = [plan.score_sources.get(i) for i in sites]
        self.rows, self.tokens = site.geometry(key.shape)
        self.repeats = self.rows // key.shape.batch
        self.paired = paired
        self.statistics = statistics
        if statistics and site.stream != "joint" and statistics[0].shape[-1] > self.tokens:
            # Joint attention is measured over text and image; a site of one stream rates its own part (FLUX).
            text = key.shape.text_tokens
            own = slice(text) if site.stream == "text" else slice(text, None)
            self.statistics = [statistic[..., own] for statistic in statistics]
        self.first_image_token = key.shape.text_tokens if site.stream == "joint" else 0
        self.common_grid = grid
        self.grid = grid if site.stream != "text" and site.rows != "position" else None
        self.counts = None
        if self.selection.staleness_weight:
            self.counts = torch.zeros(len(sites), self.chosen_rows, self.tokens, device=key.device)
        self._offsets = torch.arange(0, self.rows * self.tokens, self.tokens, device=key.device)[:, None]
        self._ranks = torch.arange(self.tokens, device=key.device)
        self._counts_of: dict[tuple[Action, ...], tuple[list[int], torch.Tensor]] = {}

    @property
    def chosen_rows(self) -> int:
        """Rows that choose for themselves: half of them where guidance branches share a choice."""
        return self.rows // 2 if self.paired else self.rows

    def tensors(self) -> list[torch.Tensor]:
        return [] if self.counts is None else [self.counts]

    def take_counts(self, other: TokenGroup, images: torch.Tensor, of: int) -> None:
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
            numbers = [tokens_of(action, self.tokens) for action in actions]
            self._counts_of[actions] = numbers, torch.tensor(numbers, device=self.device)[:, None, None]
        return self._counts_of[actions]

    def reads_this_step(self, measured: frozenset[int]) -> bool:
        return any(source in measured and source != i for i, source in zip(self.sites, self.sources, strict=True))

    def choose(self, row: Sequence[Action], step: int) -> list[torch.Tensor | None]:
        """Index (rows, k) over the batch for each site, `None` where it recomputes nothing or everything."""
        numbers, fresh = self.fresh_tokens(row)
        most = max((n for n in numbers if n < self.tokens), default=0)
        if not most:
            self._age(self.counts, None, fresh)
            return [None] * len(numbers)
        score = self.rated(torch.stack(self.statistics)) if self.statistics else self._random_score(step)
        order = self.order(score, self.counts, fresh, most)
        # Copies, not views: compiled blocks guard on the memory layout of what they are given.
        return [
            torch.clone(chosen[:, :n], memory_format=torch.contiguous_format) if 0 < n < self.tokens else None
            for chosen, n in zip(order, numbers, strict=True)
        ]

    def choose_late(self, position: int, row: Sequence[Action]) -> LateChoice | None:
        """The same for one site, once its statistic is up to date; `None` where there is nothing to choose."""
        numbers, fresh = self.fresh_tokens(row)
        part = slice(position, position + 1)
        counts = None if self.counts is None else self.counts[part]
        if not 0 < numbers[position] < self.tokens:
            self._age(counts, None, fresh[part])
            return None
        slots = torch.empty(numbers[position], device=self.device)
        return LateChoice(self, self.statistics[position][None], counts, fresh[part], slots)

    def rated(self, statistic: torch.Tensor) -> torch.Tensor:
        """Statistic (sites, rows, tokens) -> score (sites, rows that choose, tokens)."""
        if self.paired:
            statistic = self.score.merge(statistic.unflatten(1, (2, -1)))
        return self.score.rate(statistic)

    def _random_score(self, step: int) -> torch.Tensor:
        random = torch.stack([self.selection.random_score(self.tokens, (step, self.number, i)) for i in self.sites])
        return random.to(self.device)[:, None].expand(-1, self.chosen_rows, -1)

    def order(self, score: torch.Tensor, counts: torch.Tensor | None, fresh: torch.Tensor, most: int) -> torch.Tensor:
        """The `most` best tokens of each row, best first, counted over the batch: (sites, rows, most).

        Args:
            score (`torch.Tensor`): (sites, rows that choose, tokens).
            counts (`torch.Tensor` or `None`): The same shape, this part of `counts`; brought up to date.
            fresh (`torch.Tensor`): (sites, 1, 1): how many of them each site recomputes.
            most (`int`): The largest of these.
        """
        staleness = 0 if counts is None else counts
        score = self.selection.final_score(score, staleness, self.grid, self.first_image_token)
        order = best_tokens(score, most)
        self._age(counts, order, fresh)
        if self.paired:
            order = torch.cat([order, order], dim=1)
        return order + self._offsets

    def _age(self, counts: torch.Tensor | None, order: torch.Tensor | None, fresh: torch.Tensor) -> None:
        """Every token one step older; those chosen, and all of a site that computes whole, are new."""
        if counts is None:
            return
        counts.add_(1).mul_(fresh < self.tokens)
        if order is not None:
            stays = self._ranks[: order.shape[-1]] >= fresh
            counts.scatter_(-1, order, counts.gather(-1, order) * stays)


@dataclass(eq=False)
class LateChoice:
    """A choice that waits for what its step measures. It is made of tensors, and the number of tokens is the size of
    one, so that compiled blocks trace it once for all layers and steps.

    Args:
        group (`TokenGroup`): The site's group.
        statistic, counts, fresh (`torch.Tensor`): The site's parts of the group's, (1, rows, tokens) and (1, 1, 1).
        slots (`torch.Tensor`): (k,): one for each token to choose.
    """

    group: TokenGroup
    statistic: torch.Tensor
    counts: torch.Tensor | None
    fresh: torch.Tensor
    slots: torch.Tensor

    def __call__(self) -> torch.Tensor:
        """Index (rows, k) over the batch."""
        score = self.group.rated(self.statistic)
        return self.group.order(score, self.counts, self.fresh, self.slots.shape[0])[0]
