"""The weighted mean of two fills, each with terms of its own: Spectrum (arXiv 2603.01623)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar

import torch

from ...checks import Share
from ...kernels.series import weighted_sum
from ...registry import register
from ..sampling import Timeline
from .base import Fill
from .mixing import check_adds_no_latents
from .renewal import Renewal


@register
@dataclass(frozen=True)
class Blend(Fill):
    """`share x first + (1 - share) x second`.

    Unlike the fills of `Segments`, the two need not keep the same terms: those of both are kept, the second's behind
    the first's.

    Args:
        first, second (`Fill`): The two.
        share (`float`, defaults to 0.5): Of the first, from 0 to 1.

    Raises:
        ValueError: If one of them is no weighted sum of its terms with weights of its own.
    """

    first: Fill
    second: Fill
    share: Share = 0.5

    name: ClassVar[str] = "blend"

    def __post_init__(self) -> None:
        super().__post_init__()
        for fill in self.parts:
            if fill.reads_latents or fill.reads_gate or fill.combine is not weighted_sum:
                raise ValueError(
                    f"The fills of {self.name!r} must be weighted sums of their terms: {fill.name} is none."
                )
        check_adds_no_latents(self, self.parts)

    @property
    def parts(self) -> tuple[Fill, Fill]:
        return self.first, self.second

    @property
    def reads_timesteps(self) -> bool:  # type: ignore[override]
        return any(fill.reads_timesteps for fill in self.parts)

    @property
    def kept(self) -> int:
        return sum(fill.kept for fill in self.parts)

    @property
    def remembers(self) -> int | None:
        numbers = [fill.remembers for fill in self.parts]
        return None if None in numbers else max(number or 0 for number in numbers)

    @property
    def renewal(self) -> Renewal:
        return _renewal(self.first.renewal, self.second.renewal, self.first.kept)

    def scales(self, history: Sequence[int], timeline: Timeline) -> list[float]:
        return [scale for fill in self.parts for scale in fill.scales(_known(fill, history), timeline)]

    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        ours, theirs = (fill.weights(step, _known(fill, history), timeline) for fill in self.parts)
        (one, *ones), (other, *others) = ours, theirs
        rest = 1 - self.share
        return [self.share * one + rest * other, *(self.share * w for w in ones), *(rest * w for w in others)]

    def check_steps(self, num_inference_steps: int) -> None:
        for fill in self.parts:
            fill.check_steps(num_inference_steps)

    def term_bytes(self, itemsize: int) -> int:
        return sum(fill.term_bytes(itemsize) for fill in self.parts)


def _known(fill: Fill, history: Sequence[int]) -> Sequence[int]:
    """As much of the history as a fill asks for; the other may ask for more."""
    return history[: fill.remembers]


@cache
def _renewal(first: Renewal, second: Renewal, kept: int) -> Renewal:
    """The same one each time: compiled blocks guard on it."""
    return partial(_renewed, first, second, kept)


def _renewed(
    first: Renewal,
    second: Renewal,
    kept: int,
    value: torch.Tensor,
    before: torch.Tensor | None,
    terms: list[torch.Tensor],
    scales: Sequence[Any],
) -> list[torch.Tensor]:
    mine = first(value, before, terms[:kept], scales[:kept]) if kept else []
    theirs = second(value, before, terms[kept:], scales[kept:]) if len(terms) > kept else []
    return [*mine, *theirs]
