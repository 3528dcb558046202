"""Tokens that are named beforehand: a region, a chessboard, whatever a planner found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from ...checks import Count, check
from ...kernels.sending import sent
from ...models.streams import IMAGE
from ...registry import register
from ..actions import Action, tokens_of
from .base import Selection
from .group import Group, Grouping


@register
@dataclass(frozen=True)
class ByPlan(Selection):
    """The first tokens of an order that the plan says; a site computes as many of them as its share is.

    Args:
        orders (`tuple[tuple[int, ...], ...]`): Orders of the image tokens, counted row by row (and frame by frame)
            from 0, the first to be computed first. Steps take them in turn: step s the one at s mod their number.
            Tokens that an order leaves out come after all others, from the last one down.

    Raises:
        ValueError: If there is none, or one names a token twice.
    """

    orders: tuple[tuple[Count, ...], ...]

    name: ClassVar[str] = "plan"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(bool(self.orders), "orders", self.orders, "must name at least one order of tokens")
        twice = [order for order in self.orders if len(set(order)) < len(order)]
        check(not twice, "orders", twice[:1], "must name each token once")

    def order(self, step: int, tokens: int) -> list[int]:
        """All image tokens in the order of a step.

        Raises:
            ValueError: If it names one that is not there.
        """
        first = self.orders[step % len(self.orders)]
        most = max(first, default=0)
        check(most < tokens, "orders", most, f"must name tokens below {tokens}, of which an image consists here")
        named = set(first)
        return [*first, *(token for token in reversed(range(tokens)) if token not in named)]

    def groups(self, grouping: Grouping) -> list[Group]:
        return [PlannedGroup(self, grouping, sites) for sites in grouping.by_stack_and_module]


class PlannedGroup(Group):
    """Partial sites of one stack and module, which compute the first tokens of the plan's order; of text, where it
    stands in the same rows, the first tokens after those of the image.

    Args:
        selection (`ByPlan`): The orders.
        grouping (`Grouping`): What the groups are made of.
        sites (`list[int]`): Indices of the group's sites in the layout.
    """

    def __init__(self, selection: ByPlan, grouping: Grouping, sites: list[int]):
        site, shape = grouping.layout.sites[sites[0]], grouping.key.shape
        self.sites, self.selection, self.device = sites, selection, grouping.key.device
        self.rows, self.tokens = site.geometry(shape)
        self.image = site.place(IMAGE, shape) if site.has_image else None

    def choose(self, row: Sequence[Action], step: int) -> list[torch.Tensor | None]:
        """Index (rows, k) over the batch for each site, `None` where it recomputes nothing or everything."""
        order = sent(torch.tensor(self._order(step)), self.device)
        offsets = torch.arange(0, self.rows * self.tokens, self.tokens, device=self.device)[:, None]
        numbers = [tokens_of(row[i], self.tokens) for i in self.sites]
        return [order[:n] + offsets if 0 < n < self.tokens else None for n in numbers]

    def _order(self, step: int) -> list[int]:
        if self.image is None:
            return list(range(self.tokens))
        start, stop = self.image.start, self.image.stop
        image = self.selection.order(step, stop - start)
        return [*(start + token for token in image), *range(start), *range(stop, self.tokens)]
