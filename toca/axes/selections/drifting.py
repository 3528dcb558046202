"""One choice for the whole stack, by drift: the tokens that keep to their way are dropped and forecast (Coast)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from ...checks import Seed
from ...kernels.sending import sent
from ...models.layout import Layout
from ...registry import register
from ..fills import Fill
from ..fills.renewal import differences, shifted
from ..spans import Span
from .bonuses import random_score
from .group import Group, Grouping
from .whole_stack import ActiveTokens, WholeStack


@register
@dataclass(frozen=True)
class ByDrift(WholeStack):
    """By drift x (1 + staleness): how far what all blocks together add to a token moved between the last two full
    steps, and the steps since it last went through them. The highest go through all blocks.

    In the place of what the blocks would have added to a dropped token stands its forecast, from full steps alone; to
    attention the token stays visible by its last keys and values. The plan's fill must tell drift: one that keeps the
    last values or their differences. So the score takes no memory but a count for each token.

    Args:
        rated_by (`str`, defaults to `"drift"`): `"drift"`; or, to compare with, `"staleness"` alone or `"chance"`, a
            draw for each step that is the same for all samples.
        shared_cfg (`bool`, defaults to `False`): Whether the two guidance halves of a batch share one choice.
        seed (`int`, defaults to 0): Of the draws.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    rated_by: Literal["drift", "staleness", "chance"] = "drift"
    shared_cfg: bool = False
    seed: Seed = 0

    name: ClassVar[str] = "drift"
    forecasts: ClassVar[bool] = True

    @property
    def label(self) -> str:
        return self.rated_by

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        """What the stack adds to what enters it."""
        return (Span(0, layout.layers, forecasts=True),)

    def check_fill(self, fill: Fill | None) -> None:
        if fill is None or not fill.kept or fill.renewal not in (differences, shifted):
            got = "there is none" if fill is None else f"{fill.name} does not"
            raise ValueError(
                "Tokens that are chosen by drift need a fill that keeps the last values or their differences, such as "
                f"taylor or polynomial; {got}."
            )

    def rate(self, change: torch.Tensor, staleness: torch.Tensor, step: int) -> torch.Tensor:
        """The score (rows, tokens), float32.

        Args:
            change (`torch.Tensor`): (rows, tokens, C): of what the blocks add up to.
            staleness (`torch.Tensor`): (rows, tokens): steps since each token went through the blocks, before this
                one.
            step (`int`): How many choices were made before.
        """
        if self.rated_by == "drift":
            return change.float().norm(dim=-1) * (1 + staleness)
        draw = sent(random_score(self.seed, staleness.shape[1], (step,)), staleness.device)
        return draw.expand_as(staleness) + (staleness if self.rated_by == "staleness" else 0)

    def groups(self, grouping: Grouping) -> list[Group]:
        return [DriftingTokens(self, grouping)]


class DriftingTokens(ActiveTokens):
    """Those of the highest score; guidance branches that are paired share one choice, made by the mean of their two
    scores.

    Args:
        selection (`ByDrift`): What rates the tokens.
        grouping (`Grouping`): What the groups are made of.

    Attributes:
        drops (`torch.Tensor`): (rows that choose, tokens), float32: for how many steps each token has been dropped.
    """

    def __init__(self, selection: ByDrift, grouping: Grouping):
        super().__init__(grouping)
        self.selection, self.choices = selection, 0

    def take_counts(self, other: Any, images: torch.Tensor, of: int) -> None:
        super().take_counts(other, images, of)
        self.choices = other.choices

    def forget(self) -> None:
        self.drops.zero_()

    def rated(self, shown: torch.Tensor) -> torch.Tensor:
        halves = shown.unflatten(0, (2, -1)).unbind() if self.paired else (shown,)
        scores = [self.selection.rate(half, self.drops, self.choices) for half in halves]
        self.choices += 1
        return torch.stack(scores).mean(dim=0)

    def note(self, chosen: torch.Tensor) -> None:
        self.drops.add_(1).scatter_(1, chosen, 0.0)
