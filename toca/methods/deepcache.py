"""DeepCache: deep features are kept, shallow ones computed (Ma et al., arXiv 2312.00858)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from ..axes.sampling import Sampling
from ..axes.spans import Span, skipped
from ..checks import SomeLayers, SomeSteps, Steps, Within, check
from ..models import Site
from ..registry import register
from .base import Method


@register
@dataclass(frozen=True)
class DeepCache(Method):
    """Between full steps, run the first and the last blocks alone: the last ones get what those between them made when
    they last ran, and what the first ones make now by their long skips.

    Published for U-Nets; of transformers HunyuanDiT has such skips, from block l to block L - 1 - l. Without them the
    first blocks' work is lost, unless what is kept is a difference.

    **When** (section 3.3): every N-th step, or, with a center c, at the steps floor(x^p + c), x in S / N even steps
    from (-c)^(1/p) to (S - c)^(1/p): the more the nearer to c. **Which**: in the others the first and the last m
    blocks. **Fill**: what left the blocks between them.

    Args:
        interval (`int`, defaults to 3): N.
        outer_blocks (`int`, defaults to 1): m, the blocks at each end that always run.
        center (`int`, *optional*): c, a step; `None` for equal intervals.
        power (`float`, defaults to 1.4): p.
        keeps (`str`, defaults to `"output"`): `"output"`, or `"residual"`: what the blocks between added to their
            input.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    interval: SomeSteps = 3
    outer_blocks: SomeLayers = 1
    center: Steps | None = None
    power: Annotated[float, Within(0.1, 10)] = 1.4
    keeps: Literal["output", "residual"] = "output"

    name: ClassVar[str] = "deepcache"
    title: ClassVar[str] = "Ma et al., CVPR 2024, arXiv 2312.00858"

    def check_fits(self, sampling: Sampling) -> None:
        super().check_fits(sampling)
        most = (sampling.layers - 1) // 2
        check(self.outer_blocks <= most, "outer_blocks", self.outer_blocks, f"must be at most {most} of this model")

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step in self._full(sampling.num_inference_steps) or not skipped(site.layer, self.spans(step, sampling))

    def _full(self, steps: int) -> set[int]:
        """The steps that are computed in full; the first always is."""
        if self.center is None:
            return set(range(0, steps, self.interval))
        first, last = (_signed_power(end - self.center, 1 / self.power) for end in (0, steps))
        count = -(-steps // self.interval)
        places = (first + (last - first) * i / count for i in range(count))
        return {0, *(min(steps - 1, int(_signed_power(x, self.power) + self.center)) for x in places)}

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return (Span(self.outer_blocks, sampling.layers - self.outer_blocks, keeps=self.keeps),)


def _signed_power(x: float, power: float) -> float:
    return abs(x) ** power if x >= 0 else -(abs(x) ** power)
