"""DuCa: dual feature caching (Zou et al., arXiv 2412.18911)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..axes.sampling import Sampling
from ..axes.spans import Span
from ..registry import register
from .toca import ToCa


@register
@dataclass(frozen=True)
class DuCa(ToCa):
    """ToCa with aggressive steps in turn: between full steps, one step recomputes the tokens that matter and the next
    skips every block and reuses the last one's output; the final norm and projection follow the timestep.

    **When**: ToCa's full steps; with r = (s - phase) mod tau a step is full if r = 0, token-wise if r is odd and
    aggressive if r is even (section 3.3). **Which**: ToCa's, rated by the norm of the value vectors (section 3.4): the
    score of a token is the L2-normalised sum over heads of 1 - ||v||, so that small values are refreshed first and no
    attention map is needed. **Fill**: reuse.

    Args:
        interval (`int`, defaults to 3): N.
        fresh_ratio (`float`, defaults to 0.05): R0.
        score (`str`, defaults to `"value_norm"`): As in `ToCa`; `"random"` is that of version 2 of the paper.
    """

    fresh_ratio: float = 0.05
    score: str = "value_norm"

    name: ClassVar[str] = "duca"
    title: ClassVar[str] = "Zou et al., 2024, arXiv 2412.18911"

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        """An aggressive step leaves out the whole stack."""
        remainder = self.schedule("ff").remainders(sampling.num_inference_steps)[step]
        aggressive = remainder > 0 and remainder % 2 == 0
        return (Span(0, sampling.layers, keeps="output"),) if aggressive else ()
