"""Sites that choose their tokens together, and what is remembered for the choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...models.layout import Layout
from ...models.shape import CallKey
from ..actions import Action

Spread = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""`(filled, index, computed rows) -> filled`: what the computed tokens do to the others."""


@dataclass(frozen=True)
class Grouping:
    """What a selection makes its groups of.

    Args:
        layout (`Layout`): All sites.
        sites (`tuple[int, ...]`): Those that choose tokens in any step, in order.
        key (`CallKey`): Shape and device of the call, or of the part of it that decides alike.
        paired (`bool`): Whether the batch's halves are guidance branches of the same images.
        grid (`tuple[int, int]` or `None`): Rows and columns of the image tokens of one frame.
        sources (`Mapping[int, int]`): For each of these sites that is scored by attention: the site whose attention is
            measured.
        statistics (`Mapping[int, torch.Tensor]`): Of each of these sites that is measured, the statistic of its
            source, (rows, tokens of the source), float32; attention writes into it.
        labels (`Callable`): `() -> (rows, image tokens of a row)`, int32: what `Selection.observe` made of the last
            full step.
    """

    layout: Layout
    sites: tuple[int, ...]
    key: CallKey
    paired: bool
    grid: tuple[int, int] | None
    sources: Mapping[int, int]
    statistics: Mapping[int, torch.Tensor]
    labels: Callable[[], torch.Tensor]

    @property
    def by_stack_and_module(self) -> list[list[int]]:
        """The sites that have the same rows and tokens, which can choose together."""
        members: dict[tuple[str, str], list[int]] = {}
        for i in self.sites:
            site = self.layout.sites[i]
            members.setdefault((site.stack, site.module), []).append(i)
        return list(members.values())


class Group:
    """Sites that choose their tokens together.

    Attributes:
        sites (`list[int]`): Indices of the sites in the layout.
        common_grid (`tuple[int, int]` or `None`): Rows and columns of the image tokens of one frame.
        spread (`Callable` or `None`): What the chosen tokens do to the others: `(filled, index, rows) -> filled`.
    """

    sites: list[int]
    common_grid: tuple[int, int] | None = None
    spread: Spread | None = None

    def tensors(self) -> list[torch.Tensor]:
        """What is held between steps."""
        return []

    def take_counts(self, other: Any, images: torch.Tensor, of: int) -> None:
        """Go on with what is remembered of some of another group's images.

        Args:
            other (`Group`): One of the same class: the same sites, more images.
            images (`torch.Tensor`): (n,): which of them.
            of (`int`): How many images the other group has.
        """

    def forget(self) -> None:
        """All tokens are fresh: a full step."""

    def reads_this_step(self, measured: frozenset[int]) -> bool:
        """Whether a choice must wait for what another site of this step measures."""
        return False

    def choose(self, row: Sequence[Action], step: int) -> list[torch.Tensor | None]:
        """Index (rows, k) over the batch for each site, `None` where it recomputes nothing or everything. To be said
        by every group but those of a selection that drops tokens before the first block."""
        raise NotImplementedError(f"{type(self).__name__} chooses no tokens for its sites.")

    def choose_late(self, position: int, row: Sequence[Action]) -> Callable[[], torch.Tensor] | None:
        """The same for one site, once its statistic is up to date; `None` where there is nothing to choose. To be said
        where `reads_this_step` can be true."""
        raise NotImplementedError(f"{type(self).__name__} waits for nothing.")

    def choose_active(self, shown: torch.Tensor, count: int) -> torch.Tensor:
        """Index (rows, count) over the batch of the image tokens that go through the blocks, where the others are
        dropped before the first; made by the model's last prediction (rows, tokens, channels, pixels), or where the
        blocks' residual fills the others by how that has changed (rows, tokens, C). To be said by the one group of a
        selection that drops tokens."""
        raise NotImplementedError(f"{type(self).__name__} drops no tokens.")
