"""Two fills on two bands of frequencies over the tokens: FreqCa (arXiv 2510.08669)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, ClassVar

import torch

from ...checks import SomeShare
from ...kernels.series import weighted_sum
from ...registry import register
from ..sampling import Timeline
from .base import Combine, Fill
from .expansions import Hermite
from .mixing import Mixture
from .reuse import Reuse


@register
@dataclass(frozen=True)
class Bands(Mixture):
    """Low frequencies along the tokens filled one way, high ones another: `high + lowpass(low - high)`.

    A frequency f of the discrete Fourier transform along the tokens is low if |f| <= cutoff x the largest. Filling is
    linear in what is kept, so that one set of terms serves both, and bands are told apart only when a step is filled.
    The tokens of a model's output (B, C, ..., rows, columns) are its pixels, row by row and each frame by itself.

    Args:
        low (`Fill`, defaults to reuse): Of the low band.
        high (`Fill`, defaults to Hermite's series with sigma 0.71): Of the high band.
        cutoff (`float`, defaults to 0.1): Above 0, at most 1.

    Raises:
        ValueError: If the two keep different things, or read the latents.
    """

    low: Fill = field(default_factory=Reuse)
    high: Fill = field(default_factory=lambda: Hermite(order=2, sigma=0.71))
    cutoff: SomeShare = 0.1

    name: ClassVar[str] = "bands"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reads_latents:
            raise ValueError(f"The fills of {self.name!r} must not read the latents: {self.low.name} does.")

    @property
    def parts(self) -> tuple[Fill, ...]:
        return self.low, self.high

    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        """Those of the low band, and then those of the high band."""
        return [weight for part in self.parts for weight in self.weights_of(part, step, history, timeline)]

    @property
    def combine(self) -> Combine:
        return _combiner(self.cutoff)


@cache
def _combiner(cutoff: float) -> Combine:
    """The same one each time: compiled blocks guard on it."""
    return partial(_combined, cutoff)


def _combined(
    cutoff: float, value: torch.Tensor, higher: Sequence[torch.Tensor], weights: Sequence[Any]
) -> torch.Tensor:
    half = len(weights) // 2
    low, high = weighted_sum(value, higher, weights[:half]), weighted_sum(value, higher, weights[half:])
    return high + low_pass(low - high, cutoff)


def low_pass(tensor: torch.Tensor, cutoff: float) -> torch.Tensor:
    """The low frequencies along the tokens of (rows, tokens, C), or the pixels of (B, C, ..., rows, columns), in the
    tensor's dtype."""
    if tensor.ndim > 3:
        lines = tensor.flatten(-2).flatten(0, -2).unsqueeze(-1)
        return low_pass(lines, cutoff).reshape(tensor.shape)
    spectrum = torch.fft.rfft(tensor.float(), dim=1)
    frequencies = torch.arange(spectrum.shape[1], device=tensor.device)
    passes = frequencies <= cutoff * (spectrum.shape[1] - 1)
    return torch.fft.irfft(spectrum * passes[None, :, None], n=tensor.shape[1], dim=1).to(tensor.dtype)
