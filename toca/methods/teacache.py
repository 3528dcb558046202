"""TeaCache: timestep embedding tells (Liu et al., arXiv 2411.19108)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..checks import check
from ..gates import Gate, GateSizes, Seen, relative_l1
from ..models import Site
from ..sampling import Sampling
from ..spans import Span
from .base import Method


@dataclass(frozen=True)
class TeaCache(Method, Gate):
    """Leave out all blocks until the input of the first, modulated by the timestep, has changed enough.

    **When** (section 3.3): with M the modulated input of block 0's attention, `d = mean |M - M'| / mean |M'|` against
    the step before and `acc += poly(d)`; a step is computed once `acc >= threshold`, which sets acc to 0. The first
    and the last step are computed. **Which**: no token. **Fill**: what all blocks together added to their input in the
    last step computed.

    Args:
        coefficients (`tuple[float, ...]`, defaults to `(1, 0)`): Of the polynomial that turns the change of the input
            into that of the output, highest order first; `toca calibrate` fits them to a model.
        threshold (`float`, defaults to 0.3): delta, the change that adds up between two steps computed.
        per_sample (`bool`, defaults to `True`): Whether each image of a batch decides for itself.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    coefficients: tuple[float, ...] = (1.0, 0.0)
    threshold: float = 0.3
    per_sample: bool = True

    name: ClassVar[str] = "teacache"
    title: ClassVar[str] = "Liu et al., CVPR 2025, arXiv 2411.19108"
    probe: ClassVar[int | None] = 0

    def __post_init__(self) -> None:
        check(self.threshold >= 0, "threshold", self.threshold, "must be non-negative")
        check(len(self.coefficients) >= 1, "coefficients", self.coefficients, "must have at least one number")

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step in (0, sampling.num_inference_steps - 1)

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return (Span(0, sampling.layers),)

    def gate(self) -> Gate:
        return self

    def opens(self, seen: Seen) -> torch.Tensor:
        change = self._polynomial(relative_l1(seen.probe, seen.memory["modulated"]))
        accumulated = seen.memory["accumulated"] + change
        opens = accumulated >= self.threshold
        seen.memory["accumulated"] = accumulated.masked_fill(opens, 0.0)
        return opens

    def _polynomial(self, x: torch.Tensor) -> torch.Tensor:
        value = torch.zeros_like(x)
        for coefficient in self.coefficients:
            value = value * x + coefficient
        return value

    def observe(self, seen: Seen, computed: bool) -> None:
        seen.memory["modulated"] = seen.probe
        if "accumulated" not in seen.memory:
            seen.memory["accumulated"] = torch.zeros(len(seen.probe), device=seen.probe.device)

    def bytes_kept(self, sizes: GateSizes) -> int:
        return sizes.hidden + 4 * sizes.images
