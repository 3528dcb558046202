"""Delta-DiT: caching what blocks add (Chen et al., arXiv 2406.01125)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..axes.sampling import Sampling
from ..axes.spans import Span, skipped
from ..checks import SomeLayers, SomeSteps, Steps, check
from ..models import Site
from ..registry import register
from .base import Method


@register
@dataclass(frozen=True)
class DeltaDiT(Method):
    """Leave out the rear blocks, which make the details, while the outline is drawn, and the front blocks, which make
    the outline, while the details are.

    **When** (section 3.3): every N-th step is computed in full. **Which**: in the others the last n blocks are left
    out in steps s < b and the first n from b on. **Fill** (section 3.2): Delta, what these blocks together added to
    their input when they last ran.

    Args:
        interval (`int`, defaults to 2): N.
        blocks (`int`, defaults to 21): n; 21 of the 28 of DiT-XL and PixArt-alpha, with N = 2, make the 1.6x that the
            paper reports.
        switch (`int`, defaults to 12): b, a step and no share of the steps: published for 20.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    interval: SomeSteps = 2
    blocks: SomeLayers = 21
    switch: Steps = 12

    name: ClassVar[str] = "delta-dit"
    title: ClassVar[str] = "Chen et al., 2024, arXiv 2406.01125"

    def check_fits(self, sampling: Sampling) -> None:
        super().check_fits(sampling)
        check(self.blocks <= sampling.layers, "blocks", self.blocks, f"must be at most the model's {sampling.layers}")

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step % self.interval == 0 or not skipped(site.layer, self.spans(step, sampling))

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        layers = sampling.layers
        return (Span(layers - self.blocks, layers) if step < self.switch else Span(0, self.blocks),)
