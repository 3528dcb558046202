"""The highest scores: by attention (ToCa, DuCa), or by chance; with a bonus for stale tokens and for the best of a
patch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch

from ...checks import NonNegative, PatchSide, Seed, SomeSteps, check
from ...kernels.sending import sent
from ...models.capabilities import ATTEND, MEASURE
from ...models.dialect import Projected
from ...models.layout import Layout
from ...models.shape import CallShape
from ...models.site import Site
from ...registry import register
from ..actions import Action, tokens_of
from .base import COUNT_BYTES, Selection, check_whole, keys_kept
from .bonuses import random_score, spatial_bonus
from .group import Group, Grouping
from .ranked_group import RankedGroup
from .scores import SCORES, AttentionScore

SelfAttention = Literal["whole", "chosen"]


@dataclass(frozen=True)
class Ranked(Selection):
    """The highest of `(score + staleness_weight * n / interval) * (1 + bonus_weight if best of its patch)`."""

    interval: SomeSteps = 1
    staleness_weight: NonNegative = 0.0
    bonus_patch: PatchSide = 0
    bonus_weight: NonNegative = 0.0
    shared_cfg: bool = False
    self_attention: SelfAttention = field(default="whole", kw_only=True)

    @property
    def asks(self) -> tuple[str, ...]:  # type: ignore[override]
        return (ATTEND,) if self.self_attention == "chosen" else ()

    def check_step(self, layout: Layout, step: int, row: tuple[Action, ...]) -> None:
        check_whole(layout, step, row, self.self_attention == "chosen")

    def fresh_tokens(self, site: Site, row: tuple[Action, ...], i: int, shape: CallShape) -> int:
        if site.attends != "self":
            return super().fresh_tokens(site, row, i, shape)
        chosen = site.chosen_of(shape)
        count = tokens_of(row[i], chosen.stop - chosen.start)
        # It is made for all tokens beside those that it is chosen of.
        return count and count + site.geometry(shape)[1] - (chosen.stop - chosen.start)

    def attended(self, layout: Layout, partial: frozenset[int]) -> frozenset[int]:
        return frozenset(i for i in partial if layout.sites[i].attends == "self")

    @abstractmethod
    def score(self, group: RankedGroup, step: int) -> torch.Tensor:
        """The scores of a group's sites in a step, (sites, rows that choose, tokens), float32."""

    def rating(self, modules: Sequence[str]) -> AttentionScore | None:
        """How measured attention becomes a score in a block with these modules."""
        return None

    def final_score(
        self,
        score: torch.Tensor,
        staleness: torch.Tensor | int,
        grid: tuple[int, int] | None,
        image: slice,
    ) -> torch.Tensor:
        """Add s3, multiply by s4 (ToCa, section 3.3).

        Args:
            score (`torch.Tensor`): (..., tokens), float32.
            staleness (`torch.Tensor`): (..., tokens): steps since each token was recomputed, before this step.
            grid (`tuple[int, int]` or `None`): Rows and columns of the image tokens; `None` switches s4 off, as for
                text and for the frames of one position.
            image (`slice`): Place of the image tokens in a row, those of all its frames; others get no spatial bonus.
        """
        if self.staleness_weight:
            score = score + self.staleness_weight * staleness / self.interval
        if grid is None or not self.bonus_patch or not self.bonus_weight:
            return score
        before, own, after = score[..., : image.start], score[..., image], score[..., image.stop :]
        rated = spatial_bonus(own, grid, self.bonus_patch, self.bonus_weight)
        return torch.cat([before, rated, after], dim=-1)

    def bytes_kept(self, layout: Layout, sites: Sequence[int], shape: CallShape, itemsize: int, paired: bool) -> int:
        """How stale each token is, and the keys and values of attention that is made for some of them."""
        attention = (layout.sites[i] for i in self.attended(layout, frozenset(sites)))
        kept = keys_kept(attention, shape) * itemsize
        if not self.staleness_weight:
            return kept
        sizes = (layout.sites[i].geometry(shape) for i in sites)
        return kept + sum((rows // 2 if paired else rows) * tokens for rows, tokens in sizes) * COUNT_BYTES

    def groups(self, grouping: Grouping) -> list[Group]:
        return [
            RankedGroup(self, grouping, sites, number) for number, sites in enumerate(grouping.by_stack_and_module)
        ]


@register
@dataclass(frozen=True)
class ByAttention(Ranked):
    """By what a step's attention says of the tokens: the highest of
    `(score + staleness_weight * n / interval) * (1 + bonus_weight if best of its patch)`.

    Args:
        rated_by (`str`, defaults to `"cross_attention"`): One of `SCORES`.
        interval (`int`, defaults to 1): N of the staleness bonus.
        staleness_weight (`float`, defaults to 0.0): Weight of n / N, n the steps since a token was recomputed (s3).
        bonus_patch (`int`, defaults to 0): Side g of the patches of the spatial bonus, in tokens (s4); 0 is off.
        bonus_weight (`float`, defaults to 0.0): beta of the spatial bonus.
        shared_cfg (`bool`, defaults to `False`): Whether the two guidance halves of a batch share one selection.
        self_attention (`str`, defaults to `"whole"`): Computed or reused `"whole"`; or `"chosen"`: made for the
            chosen tokens, which attend to all, to the others by the keys and values of their last computation.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    rated_by: str = "cross_attention"

    name: ClassVar[str] = "attention"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.rated_by in SCORES, "rated_by", self.rated_by, f"must be one of {', '.join(SCORES)}")

    @property
    def asks(self) -> tuple[str, ...]:  # type: ignore[override]
        return (MEASURE, *super().asks)

    @property
    def label(self) -> str:
        return self.rated_by

    def rating(self, modules: Sequence[str]) -> AttentionScore:
        rating = SCORES[self.rated_by]
        return rating if rating.source in modules or rating.otherwise is None else SCORES[rating.otherwise]

    def source(self, modules: Sequence[str]) -> str:
        return self.rating(modules).source

    def measure(self, modules: Sequence[str]) -> Callable[[Projected], torch.Tensor]:
        return self.rating(modules).measure

    def measuring_flops(self, site: Site, shape: CallShape, tokens: int) -> int:
        return site.measuring_flops(shape, tokens) if SCORES[self.rated_by].reads_map else 0

    def score(self, group: RankedGroup, step: int) -> torch.Tensor:
        return group.rated(torch.stack(group.statistics))


@register
@dataclass(frozen=True)
class ByChance(Ranked):
    """By a draw for each step and site, the same for all samples, so that none depends on its batch-mates.

    Args:
        interval (`int`, defaults to 1): N of the staleness bonus.
        staleness_weight (`float`, defaults to 0.0): Weight of n / N, n the steps since a token was recomputed.
        bonus_patch (`int`, defaults to 0): Side of the patches of the spatial bonus, in tokens; 0 is off.
        bonus_weight (`float`, defaults to 0.0): beta of the spatial bonus.
        shared_cfg (`bool`, defaults to `False`): Whether the two guidance halves of a batch share one selection.
        self_attention (`str`, defaults to `"whole"`): As in `ByAttention`.
        seed (`int`, defaults to 0): Of the draws.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    seed: Seed = 0

    name: ClassVar[str] = "chance"

    @property
    def label(self) -> str:
        return "random"

    def score(self, group: RankedGroup, step: int) -> torch.Tensor:
        draws = [random_score(self.seed, group.tokens, (step, group.number, i)) for i in group.sites]
        return sent(torch.stack(draws), group.device)[:, None].expand(-1, group.chosen_rows, -1)
