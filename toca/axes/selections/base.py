"""What a selection is: a way to choose the tokens that a step which is not full computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import torch

from ...checks import check_fields
from ...models.dialect import Projected
from ...models.layout import Layout
from ...models.shape import CallShape
from ...models.site import Site
from ...registry import Registered
from ..actions import Action, tokens_of
from ..fills import Fill
from ..gates import Gate
from ..spans import Span
from .group import Group, Grouping

COUNT_BYTES = 4
"""Scores and counts are float32, and the numbers of clusters int32, whatever the model's dtype."""


class Selection(Registered, ABC):
    """Which tokens a partial action computes. A subclass is a frozen dataclass; it says how many tokens, what is
    measured of attention, what that costs in bytes and FLOPs, and how tokens are grouped for the choice.

    By default each site chooses for itself and fills the other tokens from its own last output.
    """

    kind: ClassVar[str] = "selection"
    asks: ClassVar[tuple[str, ...]] = ()
    """What it asks of a model, of `toca.models.CAPABILITIES`."""

    shared_cfg: bool = False
    """Whether the two guidance halves of a batch share one choice."""
    bonus_patch: int = 0
    """Side of the patches of the spatial bonus, in tokens; 0 where the grid of the tokens does not matter."""
    observes: ClassVar[bool] = False
    """Whether it looks at the hidden states that leave the last block of a full step."""
    fills_sites: ClassVar[bool] = True
    """Whether the other tokens are filled from the sites' own outputs."""

    def __post_init__(self) -> None:
        """Check the fields by their annotations. Raises `ValueError`; it names the field and the value."""
        check_fields(self)

    @property
    def label(self) -> str:
        """What tokens are chosen by, in a word."""
        return self.name

    def check_step(self, layout: Layout, step: int, row: tuple[Action, ...]) -> None:
        """Refuse a step that tokens cannot be chosen in so.

        Args:
            layout (`Layout`): The sites.
            step (`int`): Index of the step.
            row (`tuple[Action, ...]`): What each site does; not all of them compute whole.

        Raises:
            ValueError: It says where and why.
        """
        check_whole(layout, step, row)

    def check_fill(self, fill: Fill | None) -> None:  # noqa: B027 (most go together with any)
        """Refuse a fill that cannot go together with it, or that there is none. Raises `ValueError`."""

    def check_gate(self, gate: Gate) -> None:  # noqa: B027 (most go together with any)
        """Refuse a gate that cannot go together with it. Raises `ValueError`."""

    def source(self, modules: Sequence[str]) -> str | None:
        """The module of a block with these modules by whose attention tokens are chosen; `None` for none."""
        return None

    def measure(self, modules: Sequence[str]) -> Callable[[Projected], torch.Tensor] | None:
        """What is measured of it: `projected -> statistic (rows, tokens)`, float32."""
        return None

    def measuring_flops(self, site: Site, shape: CallShape, tokens: int) -> int:
        """FLOPs of measuring the attention of a site over `tokens` queries."""
        return 0

    def fresh_tokens(self, site: Site, row: tuple[Action, ...], i: int, shape: CallShape) -> int:
        """How many tokens of each of its rows a site computes that picks tokens.

        Args:
            site (`Site`): The site.
            row (`tuple[Action, ...]`): What each site does in the step.
            i (`int`): The site's place in the row.
            shape (`CallShape`): Of the call.
        """
        return tokens_of(row[i], site.geometry(shape)[1])

    def drops(self, row: tuple[Action, ...]) -> bool:
        """Whether a step drops tokens before the first block. Whoever does says `spans` too: what fills them."""
        return False

    def spans(self, layout: Layout) -> tuple[Span, ...]:
        """Spans of which is kept what fills the dropped tokens: the model's output, which is remembered in every step,
        or what the blocks add up to, of full steps alone."""
        return ()

    def attended(self, layout: Layout, partial: frozenset[int]) -> frozenset[int]:
        """The attention sites whose keys and values are remembered, for the tokens that are computed to attend to the
        others; `partial` are the sites that pick tokens in any step."""
        return frozenset()

    def observe(self, layout: Layout, shape: CallShape, leaving: torch.Tensor) -> torch.Tensor:
        """Of what leaves the last block of a full step, (rows, tokens of a row, C), the labels (rows, image
        tokens of a row), int32, that later choices are made by; a row is a sample, or a frame where blocks attend
        within frames."""
        raise NotImplementedError(f"{type(self).__name__} observes nothing.")

    def observing_flops(self, layout: Layout, shape: CallShape) -> int:
        """FLOPs of `observe`."""
        return 0

    def bytes_kept(self, layout: Layout, sites: Sequence[int], shape: CallShape, itemsize: int, paired: bool) -> int:
        """Bytes that are kept for the choice, besides what is measured.

        Args:
            layout (`Layout`): The sites.
            sites (`Sequence[int]`): Those that choose tokens in any step.
            shape (`CallShape`): Of the call.
            itemsize (`int`): Bytes of a number of the features.
            paired (`bool`): Whether the batch's halves share one choice.
        """
        return 0

    @abstractmethod
    def groups(self, grouping: Grouping) -> list[Group]:
        """The sites in groups that choose together; no token is stale yet."""


def keys_kept(sites: Iterable[Site], shape: CallShape) -> int:
    """Numbers in the keys and values that attention sites remember."""
    return sum(2 * site.geometry(shape)[0] * site.keys(shape) * site.keys_wide for site in sites)


def key_rows(sites: Iterable[Site], shape: CallShape) -> int:
    """Rows that these make: a key and a value for each token."""
    return sum(2 * site.geometry(shape)[0] * site.keys(shape) for site in sites)


def check_whole(layout: Layout, step: int, row: tuple[Action, ...], attends: bool = False) -> None:
    """Refuse some of the tokens where a site needs all: what mixes tokens, and unless it `attends` for some of them
    self-attention, from which errors would spread to all. Raises `ValueError`."""
    for site, action in zip(layout.sites, row, strict=True):
        if action.kind == "partial" and (site.whole or (site.attends == "self" and not attends)):
            what = "Self-attention" if site.attends == "self" else f"The {site.module} of a {layout.family} model"
            why = ", for it mixes tokens" if site.whole else ""
            raise ValueError(
                f"{what} is computed or reused whole{why}: step {step}, layer {site.layer}, {site.module} has the "
                f"fresh ratio {action.fresh_ratio:g}; use 0 or 1."
            )
