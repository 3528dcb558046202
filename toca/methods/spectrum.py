"""Spectrum: forecasts by Chebyshev polynomials through all computed steps (arXiv 2603.01623)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated, ClassVar

from ..axes.fills import Fill
from ..axes.fills.blend import Blend
from ..axes.fills.chebyshev import Chebyshev
from ..axes.fills.expansions import Newton
from ..axes.sampling import Sampling
from ..axes.spans import Span, last_block
from ..checks import Order, Share, SomeSteps, Within
from ..models import Site
from ..registry import register
from .base import Method


@register
@dataclass(frozen=True)
class Spectrum(Method):
    """Between full steps, forecast what leaves the last block from all full steps so far, by ridge regression on
    Chebyshev polynomials of time.

    **When**: the first k steps are full. Then, with n steps filled since the last full one, a step is full if n + 1 is
    a multiple of floor(ws); ws starts at `window` and grows by alpha with each full step, so that full steps thin out.
    **Which**: nothing is computed in the others but the last norm and projection. **Fill**: `w C(s) + (1 - w) L(s)`;
    C is `phi(s) (Phi^T Phi + lambda I)^-1 Phi^T H`, H all values computed so far, phi(s) the polynomials T_0 to T_M at
    2s / S - 1; L is the straight line through the last two values.

    The authors' code fixes S at 50 in the polynomials and rounds nodes and coefficients to bfloat16; here S is the
    number of steps and all of it is at least float32.

    Args:
        growth (`float`, defaults to 0.75): alpha.
        window (`float`, defaults to 2): ws at first.
        warmup_steps (`int`, defaults to 5): k.
        degree (`int`, defaults to 4): M.
        ridge (`float`, defaults to 0.1): lambda.
        mix (`float`, defaults to 1): w; the authors recommend 0.5 to 1. At 1 no second term is kept.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    growth: Annotated[float, Within(0, 1000)] = 0.75
    window: Annotated[float, Within(1, 1000)] = 2.0
    warmup_steps: SomeSteps = 5
    degree: Order = 4
    ridge: Annotated[float, Within(0, 1e6, open=True)] = 0.1
    mix: Share = 1.0

    name: ClassVar[str] = "spectrum"
    title: ClassVar[str] = "Han et al., CVPR 2026, arXiv 2603.01623"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return full_steps(self, sampling.num_inference_steps)[step]

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return last_block(sampling.layers)

    def filling(self) -> Fill:
        regression = Chebyshev(self.degree, self.ridge)
        return regression if self.mix == 1 else Blend(regression, Newton(1), self.mix)


@cache
def full_steps(method: Spectrum, num_inference_steps: int) -> tuple[bool, ...]:
    """Whether each step is full."""
    window, filled, full = method.window, 0, []
    for step in range(num_inference_steps):
        full.append(step < method.warmup_steps or (filled + 1) % int(window) == 0)
        filled = 0 if full[-1] else filled + 1
        if full[-1] and step >= method.warmup_steps:
            window += method.growth
    return tuple(full)
