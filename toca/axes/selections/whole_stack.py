"""One choice for the whole stack: the other tokens are dropped before the first block (RAS, Coast)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from ...checks import NonNegative
from ...models.capabilities import DROP
from ...models.layout import Layout
from ...models.shape import CallShape
from ...models.site import Site
from ...models.streams import IMAGE
from ...registry import register
from ..actions import COMPUTE, Action
from ..gates import Gate
from ..spans import Span
from .base import COUNT_BYTES, Selection, keys_kept
from .group import Group, Grouping


class WholeStack(Selection):
    """One choice for the whole stack: what is not chosen is dropped before the first block, and stays visible to
    attention by its last keys and values. A subclass says by `spans` what takes the place of what the model would
    have made of it."""

    asks: ClassVar[tuple[str, ...]] = (DROP,)
    fills_sites: ClassVar[bool] = False
    forecasts: ClassVar[bool] = False
    """Whether what takes the place of a dropped token is forecast."""

    def check_step(self, layout: Layout, step: int, row: tuple[Action, ...]) -> None:
        """Where tokens are dropped before the first block, no site has them; another step may do as it likes."""
        if not self.drops(row):
            return
        if any(site.rows != "sample" for site in layout.sites):
            raise ValueError(
                f"Tokens cannot be dropped before the first block of a {layout.family} model: its blocks attend "
                "within frames and positions."
            )
        if any(site.whole for site in layout.sites):
            raise ValueError(
                f"Tokens cannot be dropped before the first block of a {layout.family} model: some of its modules mix "
                "tokens."
            )
        image: set[Action] = set()
        text = {COMPUTE}
        for site, action in zip(layout.sites, row, strict=True):
            (image if IMAGE in site.parts else text).add(action)
        alike = len(image) == len(text) == 1
        if not alike or not all(action.picks_tokens and action.forecasts == self.forecasts for action in image):
            filled = "the others must be forecast" if self.forecasts else "nothing may be forecast"
            raise ValueError(
                f"Step {step} drops tokens before the first block: every site of the image must recompute the same "
                f"share of them and every site of the text all; {filled}, and no block left out."
            )

    def check_gate(self, gate: Gate) -> None:
        if gate.probe is not None:
            raise ValueError("A gate that runs the first blocks to decide cannot go with dropping tokens before them.")
        if type(gate).verifies is not Gate.verifies:
            raise ValueError("A gate that checks by the last block what was filled cannot go with dropping tokens.")

    def fresh_tokens(self, site: Site, row: tuple[Action, ...], i: int, shape: CallShape) -> int:
        # Text is always there.
        others = site.geometry(shape)[1] - site.image_tokens(shape)
        return others + (self.active_tokens(row, shape) if IMAGE in site.parts else 0)

    def active_tokens(self, row: tuple[Action, ...], shape: CallShape) -> int:
        """How many image tokens of a sample go through the blocks; one at least."""
        share = next((action.fresh_ratio for action in row if action.picks_tokens), 1)
        return max(1, int(share * shape.image_tokens))

    def drops(self, row: tuple[Action, ...]) -> bool:
        return any(action.picks_tokens for action in row)

    def attended(self, layout: Layout, partial: frozenset[int]) -> frozenset[int]:
        return frozenset(i for i, site in enumerate(layout.sites) if partial and site.attends == "self")

    def bytes_kept(self, layout: Layout, sites: Sequence[int], shape: CallShape, itemsize: int, paired: bool) -> int:
        """Keys and values, and how often each token was dropped."""
        if not sites:
            return 0
        numbers = keys_kept((layout.sites[i] for i in self.attended(layout, frozenset(sites))), shape)
        samples = shape.batch // 2 if paired else shape.batch
        return numbers * itemsize + samples * shape.image_tokens * COUNT_BYTES


@register
@dataclass(frozen=True)
class ByPrediction(WholeStack):
    """By the spread of the model's last prediction: the highest go through all blocks (Liu et al., arXiv 2502.10389).

    A dropped token keeps the model's last output for it; to attention it stays visible by its last keys and values.
    The guidance halves of a batch share one choice.

    Args:
        starvation (`float`, defaults to 0.0): kappa: a token that has been dropped d times counts exp(kappa d) times
            as much.

    Raises:
        ValueError: If the value is out of range.
    """

    starvation: NonNegative = 0.0

    name: ClassVar[str] = "prediction"
    shared_cfg: ClassVar[bool] = True  # type: ignore[misc]

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        """The model's output, kept whole: what tokens keep that were dropped."""
        return (Span(0, layout.layers, keeps="output", around="model"),)

    def rate(self, prediction: torch.Tensor, drops: torch.Tensor) -> torch.Tensor:
        """Spread of the prediction over its channels x exp(starvation x drops) (section 3), as a logarithm, for the
        exponential soon overflows and the order is the same.

        Args:
            prediction (`torch.Tensor`): (rows, tokens, channels, pixels of a token).
            drops (`torch.Tensor`): (rows, tokens): how often each token has been dropped.

        Returns:
            `torch.Tensor`: (rows, tokens), float32.
        """
        spread = prediction.float().std(dim=2, correction=0).mean(dim=2)
        return spread.log() + self.starvation * drops

    def groups(self, grouping: Grouping) -> list[Group]:
        return [SpreadTokens(self, grouping)]


class ActiveTokens(Group):
    """The image tokens that go through the blocks; text always does. A subclass says how they are rated, and what is
    counted.

    Args:
        grouping (`Grouping`): What the groups are made of. Guidance branches that are paired share one choice.

    Attributes:
        drops (`torch.Tensor`): (rows that choose, tokens), float32: how often each token has been dropped.
    """

    def __init__(self, grouping: Grouping):
        key = grouping.key
        self.sites, self.paired = list(grouping.sites), grouping.paired
        rows = key.shape.batch // 2 if self.paired else key.shape.batch
        self.drops = torch.zeros(rows, key.shape.image_tokens, device=key.device)

    def tensors(self) -> list[torch.Tensor]:
        return [self.drops]

    def take_counts(self, other: Any, images: torch.Tensor, of: int) -> None:
        self.drops.copy_(other.drops.unflatten(0, (-1, of)).index_select(1, images).flatten(0, 1))

    def rated(self, shown: torch.Tensor) -> torch.Tensor:
        """Scores (rows that choose, tokens) by what a choice is made by."""
        raise NotImplementedError

    def note(self, chosen: torch.Tensor) -> None:
        """The tokens at `chosen` (rows that choose, count) are not dropped, all others are."""
        raise NotImplementedError

    def choose(self, row: Sequence[Action], step: int) -> list[torch.Tensor | None]:
        """No site chooses for itself. In a step that drops no token and computes none, all of them stay behind."""
        self.drops.add_(1)
        return [None] * len(self.sites)

    def choose_active(self, shown: torch.Tensor, count: int) -> torch.Tensor:
        """Index (rows, count) over the batch of the active tokens."""
        chosen = self.rated(shown).topk(count, dim=1).indices
        self.note(chosen)
        chosen = chosen.repeat(2, 1) if self.paired else chosen
        return chosen + torch.arange(len(chosen), device=chosen.device)[:, None] * self.drops.shape[1]


class SpreadTokens(ActiveTokens):
    """Those of the highest spread; guidance branches that are paired share one choice, made by the mean of their two
    predictions.

    Args:
        selection (`ByPrediction`): What rates the tokens.
        grouping (`Grouping`): What the groups are made of.
    """

    def __init__(self, selection: ByPrediction, grouping: Grouping):
        super().__init__(grouping)
        self.selection = selection

    def rated(self, shown: torch.Tensor) -> torch.Tensor:
        prediction = shown.float().unflatten(0, (2, -1)).mean(dim=0) if self.paired else shown
        return self.selection.rate(prediction, self.drops)

    def note(self, chosen: torch.Tensor) -> None:
        self.drops.add_(1).scatter_add_(1, chosen, self.drops.new_full(chosen.shape, -1))
