"""EasyCache: runtime-adaptive caching (Zhou et al., arXiv 2507.02860)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from ..axes.gates import Gate, GateSizes, Observation, mean_per_image, reaches
from ..axes.sampling import Sampling
from ..axes.spans import Span
from ..checks import MOST_STEPS, NonNegative, Within
from ..models import Site
from ..registry import register
from .base import Method


@register
@dataclass(frozen=True)
class TransformationRate(Gate):
    """EasyCache's gate: opens once the output is expected to have changed, by the input's change times k.

    Args:
        threshold (`float`): tau, the expected change that adds up between two steps computed.
        per_sample (`bool`, defaults to `True`): Whether each image of a batch decides for itself.
    """

    threshold: NonNegative
    per_sample: bool = True

    name: ClassVar[str] = "transformation-rate"

    def opens(self, now: Observation) -> torch.Tensor:
        memory = now.memory
        change = mean_per_image((now.input - memory["input"]).abs())
        expected = memory["rate"] * change / mean_per_image(memory["computed_output"].abs())
        memory["accumulated"] = memory["accumulated"] + expected
        return reaches(memory["accumulated"], self.threshold)

    def observe(self, now: Observation, computed: bool) -> None:
        # Copies: the pipeline may go on writing in its own tensors.
        if computed:
            now.memory["rate"] = self._rate(now)
            now.memory["accumulated"] = torch.zeros(len(now.input), device=now.input.device)
            now.memory["computed_input"], now.memory["computed_output"] = now.input.clone(), now.output.clone()
        now.memory["input"] = now.input.clone()

    def _rate(self, now: Observation) -> torch.Tensor:
        """k; unknown and so without bounds when the first step has been computed."""
        if "computed_input" not in now.memory:
            return torch.full((len(now.input),), torch.inf, device=now.input.device)
        change = mean_per_image((now.input - now.memory["computed_input"]).abs())
        return mean_per_image((now.output - now.memory["computed_output"]).abs()) / change

    def bytes_kept(self, sizes: GateSizes) -> int:
        return 2 * sizes.input + sizes.output + 2 * 4 * sizes.images


@register
@dataclass(frozen=True)
class EasyCache(Method):
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
    knob: ClassVar[str | None] = "threshold"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step < self.warmup_steps or step == sampling.num_inference_steps - 1

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return (Span(0, sampling.layers, around="model"),)

    def gate(self) -> Gate:
        return TransformationRate(self.threshold, self.per_sample)
