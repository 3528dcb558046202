"""The choice of tokens for all layers at once, before the first block runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from .actions import Action, tokens_of
from .selection import best_tokens

if TYPE_CHECKING:
    from .plan import Plan
    from .state import CallKey


class TokenGroup:
    """Partial sites of one stack and module: same rows, same tokens, chosen together.

    One topk over all layers replaces one a layer; only where a step measures attention that the same step's choice
    reads (cross-attention before feed-forward) does a site choose for itself, when its turn comes.

    Args:
        plan (`Plan`): The plan.
        sites (`list[int]`): Indices of the sites in the plan's layout.
        key (`CallKey`): Shape and device.
        paired (`bool`): Whether the batch's halves are guidance branches that share one choice.
        grid (`tuple[int, int]` or `None`): Rows and columns of the image tokens of one frame.
        statistic (`torch.Tensor` or `None`): (sites, rows, tokens of the source), float32; written by the attention.
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
        statistic: torch.Tensor | None,
        number: int,
    ):
        site = plan.layout.sites[sites[0]]
        self.selection = plan.selection
        self.score = self.selection.score_for(plan.modules_of(site.layer))
        self.sites, self.number, self.device = sites, number, key.device
        self.sources = [plan.score_sources.get(i) for i in sites]
        self.rows, self.tokens = site.geometry(key.shape)
        self.paired = paired
        self.statistic = statistic
        if statistic is not None and site.stream != "joint" and statistic.shape[-1] > self.tokens:
            # Joint attention is measured over text and image; a site of one stream rates its own part (FLUX).
            text = key.shape.text_tokens
            self.statistic = statistic[..., :text] if site.stream == "text" else statistic[..., text:]
        self.first_image_token = key.shape.text_tokens if site.stream == "joint" else 0
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

    def forget(self) -> None:
        """All tokens are fresh: a full step."""
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
        """Whether a choice must wait for what another site of this step measures."""
        return any(source in measured and source != i for i, source in zip(self.sites, self.sources, strict=True))

    def choose(self, row: Sequence[Action], step: int) -> list[torch.Tensor | None]:
        """Index (rows, k) over the batch for each site, `None` where it recomputes nothing or everything."""
        numbers, numbers_tensor = self.fresh_tokens(row)
        return self._choose(slice(None), numbers, numbers_tensor, step)

    def choose_one(self, position: int, row: Sequence[Action], step: int) -> torch.Tensor | None:
        """The same for one site, once its statistic is up to date."""
        numbers, numbers_tensor = self.fresh_tokens(row)
        part = slice(position, position + 1)
        return self._choose(part, numbers[part], numbers_tensor[part], step)[0]

    def _choose(self, part: slice, numbers: list[int], numbers_tensor: torch.Tensor, step: int) -> list:
        most = max((n for n in numbers if n < self.tokens), default=0)
        order = best_tokens(self._final_score(part, step), most) if most else None
        self._age(part, order, numbers_tensor)
        if order is None:
            return [None] * len(numbers)
        if self.paired:
            order = torch.cat([order, order], dim=1)
        order = order + self._offsets
        # Copies, not views: compiled blocks guard on the memory layout of what they are given.
        return [
            torch.clone(chosen[:, :n], memory_format=torch.contiguous_format) if 0 < n < self.tokens else None
            for chosen, n in zip(order, numbers, strict=True)
        ]

    def _final_score(self, part: slice, step: int) -> torch.Tensor:
        score = self._score(part, step)
        staleness = 0 if self.counts is None else self.counts[part]
        return self.selection.final_score(score, staleness, self.grid, self.first_image_token)

    def _score(self, part: slice, step: int) -> torch.Tensor:
        """(sites, rows that choose, tokens)."""
        if self.statistic is None:
            keys = [(step, self.number, i) for i in self.sites[part]]
            random = torch.stack([self.selection.random_score(self.tokens, key) for key in keys])
            return random.to(self.device)[:, None].expand(-1, self.chosen_rows, -1)
        statistic = self.statistic[part]
        if self.paired:
            statistic = self.score.merge(statistic.unflatten(1, (2, -1)))
        return self.score.rate(statistic)

    def _age(self, part: slice, order: torch.Tensor | None, numbers: torch.Tensor) -> None:
        """Every token one step older; those chosen, and all of a site that computes whole, are new."""
        if self.counts is None:
            return
        counts = self.counts[part]
        counts.add_(1).mul_(numbers < self.tokens)
        if order is not None:
            stays = self._ranks[: order.shape[-1]] >= numbers
            counts.scatter_(-1, order, counts.gather(-1, order) * stays)
