"""TaylorSeer: from reusing to forecasting (Liu et al., arXiv 2503.06923)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..axes.fills import Fill
from ..axes.fills.expansions import Newton, Spacing, Taylor
from ..axes.sampling import Sampling
from ..axes.schedule import spaced_schedule
from ..axes.spans import Span
from ..checks import Order, SomeSteps, check
from ..models import Site
from ..registry import register
from .base import Method

SCOPES = ("module", "block", "lite")


@register
@dataclass(frozen=True)
class TaylorSeer(Method):
    """Between full steps, forecast features by the Taylor series of how they change over the steps.

    **When**: the first k steps are full, then every N-th. **Which**: nothing is computed in the others. **Fill**
    (equation 6 of the paper): x steps after the last full step F(x) = sum over i <= O of f_i x^i / i!, where after a
    full step f_0 = F and f_(i+1) = (f_i(new) - f_i(old)) / (the gap between the two), as long as f_i(old) exists.

    Args:
        interval (`int`, defaults to 4): N.
        order (`int`, defaults to 2): O, the highest derivative.
        warmup_steps (`int`, defaults to 2): k, the first steps that are full.
        scope (`str`, defaults to `"module"`): What is forecast: each module's output before the gate (`"module"`),
            what each block adds to its input (`"block"`), or the model's output alone (`"lite"`), which takes
            O + 1 tensors of its size and not O + 1 for each module.
        spacing (`str`, defaults to `"official"`): `"official"` divides each order by the latest gap between full
            steps; `"divided"` are Newton's divided differences, exact where gaps differ.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    interval: SomeSteps = 4
    order: Order = 2
    warmup_steps: SomeSteps = 2
    scope: str = "module"
    spacing: Spacing = "official"

    name: ClassVar[str] = "taylorseer"
    title: ClassVar[str] = "Liu et al., ICCV 2025, arXiv 2503.06923"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.scope in SCOPES, "scope", self.scope, f"must be one of {', '.join(SCOPES)}")

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return spaced_schedule(self.interval, self.warmup_steps).full_steps(sampling.num_inference_steps)[step]

    @property
    def leaves_out_blocks(self) -> bool:
        return self.scope != "module"

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        if self.scope == "block":
            return tuple(Span(layer, layer + 1, forecasts=True) for layer in range(sampling.layers))
        if self.scope == "lite":
            return (Span(0, sampling.layers, keeps="output", around="model", forecasts=True),)
        return ()

    def filling(self) -> Fill:
        return Newton(self.order) if self.spacing == "divided" else Taylor(self.order)
