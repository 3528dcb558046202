"""FoCa: forecast, then calibrate (arXiv 2508.16211), with the recurrence of cache-dit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch

from ..axes.fills import Fill
from ..axes.fills.renewal import Renewal
from ..axes.sampling import Sampling, Timeline
from ..axes.schedule import spaced_schedule
from ..axes.spans import Span, last_block
from ..checks import SomeSteps
from ..models import Site
from ..registry import register
from .base import Method

HORIZON = 3
"""Steps beyond which a forecast is drawn back to the last computed value."""


@register
@dataclass(frozen=True)
class FoCa(Method):
    """Between full steps, features go on from the last full one by Heun's rule: half by how far the full steps lie
    apart, half by how far the last step went, which may itself have been filled.

    **When**: the first k steps are full, then every N-th. **Which**: nothing is computed in the others but the last
    norm and projection. **Fill** of what leaves the last block, as cache-dit 1.5.3 has it: n steps after the last full
    one `F = G + h(n) ((G - G') + (F' - F''))`, with G, G' the last two values that were computed and F', F'' the last
    two of all, filled ones among them; h(n) is n / 2 up to n = 3, and 4.5 / n beyond, which draws back to G. How many
    steps lie between G and G' does not count. With one value computed it is reused.

    Args:
        interval (`int`, defaults to 4): N.
        warmup_steps (`int`, defaults to 2): k.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    interval: SomeSteps = 4
    warmup_steps: SomeSteps = 2

    name: ClassVar[str] = "foca"
    title: ClassVar[str] = "Zheng et al., AAAI 2026, arXiv 2508.16211; as in cache-dit"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return spaced_schedule(self.interval, self.warmup_steps).full_steps(sampling.num_inference_steps)[step]

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return last_block(sampling.layers)

    def filling(self) -> Fill:
        return Calibrated()


@register
@dataclass(frozen=True)
class Calibrated(Fill):
    """FoCa's recurrence, of which no filled value needs to be kept.

    With P the value of the step before G, filled or computed, every filled value is `G + a_n (G - G') + b_n (G - P)`:
    `a_n = h(n) (1 + a_(n-1) - a_(n-2))` and `b_n = h(n) (b_(n-1) - b_(n-2))`, from a_0 = a_(-1) = b_0 = 0 and
    b_(-1) = -1. Kept are G' and P; P is made by the same sum when the next value has been computed.
    """

    name: ClassVar[str] = "foca"

    @property
    def kept(self) -> int:
        return 2

    @property
    def renewal(self) -> Renewal:
        return anchored

    def scales(self, history: Sequence[int], timeline: Timeline) -> list[float]:
        """a and b of the step before this one."""
        if len(history) < 3:
            return [0.0, 0.0]
        return list(_parts(history[0] - history[1] - 1))

    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        if len(history) < 2:
            return [1.0, 0.0, 0.0]
        a, b = _parts(step - history[0])
        return [1 + a + b, -a, -b]


@cache
def _parts(filled: int) -> tuple[float, float]:
    """a_n and b_n."""
    a, b = [0.0, 0.0], [-1.0, 0.0]
    for n in range(1, filled + 1):
        h = n / 2 if n <= HORIZON else HORIZON * HORIZON / 2 / n
        a.append(h * (1 + a[-1] - a[-2]))
        b.append(h * (b[-1] - b[-2]))
    return a[-1], b[-1]


def anchored(
    value: torch.Tensor, before: torch.Tensor | None, terms: list[torch.Tensor], scales: Sequence[Any]
) -> list[torch.Tensor]:
    """G' and P anew: the last computed value, and what would have filled the step before this one."""
    if before is None:
        return [torch.zeros_like(value), torch.zeros_like(value)]
    anchor, past = (term.to(torch.promote_types(term.dtype, torch.float32)) for term in terms)
    a, b = scales
    latest = before.to(anchor.dtype)
    forecast = (latest + a * (latest - anchor) + b * (latest - past)).to(value.dtype)
    # In the place of a number that is not finite stands the newest one.
    return [torch.where(old.isfinite(), old, value) for old in (before, forecast)]
