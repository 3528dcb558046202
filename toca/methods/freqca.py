"""FreqCa: low frequencies are reused, high ones forecast (arXiv 2510.08669)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..axes.fills import Fill
from ..axes.fills.bands import Bands
from ..axes.fills.expansions import Hermite
from ..axes.fills.reuse import Reuse
from ..axes.sampling import Sampling
from ..axes.schedule import spaced_schedule
from ..axes.spans import Span, last_image
from ..checks import Order, SomeShare, SomeSteps
from ..models import Site
from ..registry import register
from .base import Method


@register
@dataclass(frozen=True)
class FreqCa(Method):
    """Between full steps, reuse the low frequencies of what leaves the last block, which resemble those of the step
    before, and forecast its high ones, which move steadily.

    **When**: the first k steps are full, then every N-th. **Which**: nothing is computed in the others but the last
    norm and projection. **Fill**: `F_low(t) + sum over i <= O of f_i sigma^i H_i(sigma x) / i!`, as HiCache, with the
    f_i of the high band alone, x the steps since the last full one t. A frequency is low up to `cutoff` times the
    highest: of the cosine transform over the grid of tokens (FLUX.1), or of the Fourier transform along the tokens
    (Qwen-Image). One tensor is kept for each order, and not one for each band: filling is linear.

    Where the image leaves the last block in one row with text, it is the model's output that is kept and filled.

    The authors' cosine transform takes the grid to be square; here each direction has its own frequencies.

    Args:
        interval (`int`, defaults to 6): N.
        warmup_steps (`int`, defaults to 3): k.
        order (`int`, defaults to 2): O.
        sigma (`float`, defaults to 0.71): Above 0, at most 1.
        cutoff (`float`, defaults to 0.1): Above 0, at most 1.
        transform (`str`, defaults to `"cosine"`): `"cosine"` or `"fourier"`.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    interval: SomeSteps = 6
    warmup_steps: SomeSteps = 3
    order: Order = 2
    sigma: SomeShare = 0.71
    cutoff: SomeShare = 0.1
    transform: Literal["cosine", "fourier"] = "cosine"

    name: ClassVar[str] = "freqca"
    title: ClassVar[str] = "Liu et al., 2025, arXiv 2510.08669"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return spaced_schedule(self.interval, self.warmup_steps).full_steps(sampling.num_inference_steps)[step]

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return last_image(sampling.layout)

    def filling(self) -> Fill:
        return Bands(Reuse(), Hermite(self.order, self.sigma), self.cutoff, self.transform)
