"""Two fills on two bands of frequencies over the tokens: FreqCa (arXiv 2510.08669)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, ClassVar, Literal

import torch

from ...checks import SomeShare
from ...kernels.bands import low_pass, low_pass_of_grids
from ...kernels.series import weighted_sum
from ...models import CallShape
from ...registry import register
from ..sampling import Timeline
from .base import Combine, Fill
from .expansions import Hermite
from .mixing import Mixture
from .reuse import Reuse

Grids = tuple[int, int, int]
"""Frames of a call, over all samples, and rows and columns of tokens in each."""


@register
@dataclass(frozen=True)
class Bands(Mixture):
    """Low frequencies over the tokens filled one way, high ones another: `high + lowpass(low - high)`.

    Filling is linear in what is kept, so that one set of terms serves both, and bands are told apart only when a step
    is filled. The tokens of a model's output (B, C, ..., rows, columns) are its pixels.

    Args:
        low (`Fill`, defaults to reuse): Of the low band.
        high (`Fill`, defaults to Hermite's series with sigma 0.71): Of the high band.
        cutoff (`float`, defaults to 0.1): Above 0, at most 1: a frequency is low up to this share of the highest.
        transform (`str`, defaults to `"fourier"`): What tells the bands: the discrete Fourier transform along the
            tokens, pixels row by row and each frame by itself (`"fourier"`); or the cosine transform (DCT-II) over the
            grid of the tokens, of frequency sqrt((u / rows)^2 + (v / columns)^2) (`"cosine"`), and along the tokens of
            what forms no grid, such as text.

    Raises:
        ValueError: If the two keep different things, or read the latents.
    """

    low: Fill = field(default_factory=Reuse)
    high: Fill = field(default_factory=lambda: Hermite(order=2, sigma=0.71))
    cutoff: SomeShare = 0.1
    transform: Literal["fourier", "cosine"] = "fourier"

    name: ClassVar[str] = "bands"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reads_latents:
            raise ValueError(f"The fills of {self.name!r} must not read the latents: {self.low.name} does.")

    @property
    def parts(self) -> tuple[Fill, ...]:
        return self.low, self.high

    @property
    def reads_grid(self) -> bool:  # type: ignore[override]
        return self.transform == "cosine"

    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        """Those of the low band, and then those of the high band."""
        return [weight for part in self.parts for weight in self.weights_of(part, step, history, timeline)]

    @property
    def combine(self) -> Combine:
        return _combiner(self.cutoff, self.transform == "cosine", None)

    def combine_for(self, shape: CallShape) -> Combine:
        if self.transform == "fourier" or shape.grid is None:
            return self.combine
        return _combiner(self.cutoff, True, (shape.batch * shape.frames, *shape.grid))


@cache
def _combiner(cutoff: float, cosine: bool, grids: Grids | None) -> Combine:
    """The same one each time: compiled blocks guard on it."""
    return partial(_combined, cutoff, cosine, grids)


def _combined(
    cutoff: float,
    cosine: bool,
    grids: Grids | None,
    value: torch.Tensor,
    higher: Sequence[torch.Tensor],
    weights: Sequence[Any],
) -> torch.Tensor:
    half = len(weights) // 2
    low, high = weighted_sum(value, higher, weights[:half]), weighted_sum(value, higher, weights[half:])
    between = low - high
    return high + (low_pass_of_grids(between, cutoff, grids) if cosine else low_pass(between, cutoff))
