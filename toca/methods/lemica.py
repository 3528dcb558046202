"""LeMiCa: lexicographic minimax path caching (Gao et al., arXiv 2511.00090)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..axes.sampling import Sampling
from ..axes.spans import Span
from ..checks import SomeSteps, Steps
from ..registry import register
from .planned import Planned

FLUX_20 = (*range(8), 9, 12, 15, 19, 24, 31, 38, 43, *range(46, 50))


@register
@dataclass(frozen=True)
class LeMiCa(Planned):
    """Full steps from a search over whole generations; between them what the stack of blocks added is reused.

    **When**: with w(i, j) the mean |x - x'| of the final latents x of a run in full and x' of one in which only the
    steps between i and j are filled, the path from the first step to the last, through a given number of full ones,
    whose w, sorted from the largest down, come first in lexicographic order. **Fill**: the residual of the whole
    stack in the last full step, added to what enters it now.

    The presets are the authors' tables. `toca tune` searches anew, for any model and number of steps.

    Args:
        full_steps (`tuple[int, ...]`): The full steps, rising, from step 0 on; the 20 of FLUX.1-dev by default.
        num_inference_steps (`int`, defaults to 50): The number of steps that they were found for.
    """

    full_steps: tuple[Steps, ...] = FLUX_20
    num_inference_steps: SomeSteps = 50

    name: ClassVar[str] = "lemica"
    title: ClassVar[str] = "Gao et al., NeurIPS 2025, arXiv 2511.00090"

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return (Span(0, sampling.layers),)
