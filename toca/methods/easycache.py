"""EasyCache: runtime-adaptive caching (Zhou et al., arXiv 2507.02860)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from ..axes.gates import Gate, GateSizes, Seen, mean_per_image, reaches
from ..axes.sampling import Sampling
from ..axes.spans import Span
from ..checks import MOST_STEPS, NonNegative, Within
from ..models import Site
from .base import Method


@dataclass(frozen=True)
class EasyCache(Method, Gate):
    """Leave out the model until its output is expected to have changed enough, as judged by its input alone.

    **When** (section 3.2): with x the model's input and y its output, the transformation rate
    `k = mean |y - y'| / mean |x - x'|` is taken at each step computed, against the one computed before it (x', y'); in
    the others `acc += k mean |x - x_before| / mean |y'|`, x_before the input of the step before and y' the output last
    computed, and a step is computed once `acc >= threshold`, which sets acc to 0. **Which**: no token. **Fill**: y - x
    of the last step computed.

    Args:
        threshold (`float`, defaults to 0.05): tau, the expected change that adds up between two steps computed.
        warmup_steps (`int`, defaults to 10): First steps that are computed; at least 2, for the rate.
        per_sample (`bool`, defaults to `True`): Whether each image of a batch decides for itself.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    threshold: NonNegative = 0.05
    warmup_steps: Annotated[int, Within(2, MOST_STEPS)] = 10
    per_sample: bool = True

    name: ClassVar[str] = "easycache"
    title: ClassVar[str] = "Zhou et al., 2025, arXiv 2507.02860"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step < self.warmup_steps or step == sampling.num_inference_steps - 1

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return (Span(0, sampling.layers, around="model"),)

    def gate(self) -> Gate:
        return self

    def opens(self, seen: Seen) -> torch.Tensor:
        memory = seen.memory
        change = mean_per_image((seen.input - memory["input"]).abs())
        expected = memory["rate"] * change / mean_per_image(memory["computed_output"].abs())
        memory["accumulated"] = memory["accumulated"] + expected
        return reaches(memory["accumulated"], self.threshold)

    def observe(self, seen: Seen, computed: bool) -> None:
        # Copies: the pipeline may go on writing in its own tensors.
        if computed:
            seen.memory["rate"] = self._rate(seen)
            seen.memory["accumulated"] = torch.zeros(len(seen.input), device=seen.input.device)
            seen.memory["computed_input"], seen.memory["computed_output"] = seen.input.clone(), seen.output.clone()
        seen.memory["input"] = seen.input.clone()

    def _rate(self, seen: Seen) -> torch.Tensor:
        """k; unknown and so without bounds when the first step has been computed."""
        if "computed_input" not in seen.memory:
            return torch.full((len(seen.input),), torch.inf, device=seen.input.device)
        change = mean_per_image((seen.input - seen.memory["computed_input"]).abs())
        return mean_per_image((seen.output - seen.memory["computed_output"]).abs()) / change

    def bytes_kept(self, sizes: GateSizes) -> int:
        return 2 * sizes.input + sizes.output + 2 * 4 * sizes.images
