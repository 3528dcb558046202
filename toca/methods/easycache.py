"""EasyCache: runtime-adaptive caching (Zhou et al., arXiv 2507.02860)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..checks import check
from ..gates import Gate, GateSizes, Seen, mean_per_image
from ..models import Site
from ..sampling import Sampling
from ..spans import Span
from .base import Method


@dataclass(frozen=True)
class EasyCache(Method, Gate):
    """Leave out the model until its output is expected to have changed enough, as judged by its input alone.

    **When** (section 3.2): the transformation rate `k = |change of the output| / |change of the input|` is taken at
    the steps computed; in the others `acc += k |change of the input| / |output before|`, and a step is computed once
    `acc >= threshold`, which sets acc to 0. All changes are against the step before. **Which**: no token. **Fill**:
    the difference between the model's output and its input in the last step computed.

    Args:
        threshold (`float`, defaults to 0.05): tau, the expected change that adds up between two steps computed.
        warmup_steps (`int`, defaults to 10): First steps that are computed; at least 2, for the rate.
        per_sample (`bool`, defaults to `True`): Whether each image of a batch decides for itself.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    threshold: float = 0.05
    warmup_steps: int = 10
    per_sample: bool = True

    name: ClassVar[str] = "easycache"
    title: ClassVar[str] = "Zhou et al., 2025, arXiv 2507.02860"

    def __post_init__(self) -> None:
        check(self.threshold >= 0, "threshold", self.threshold, "must be non-negative")
        check(self.warmup_steps >= 2, "warmup_steps", self.warmup_steps, "must be at least 2")

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step < self.warmup_steps or step == sampling.num_inference_steps - 1

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return (Span(0, sampling.layers, around="model"),)

    def gate(self) -> Gate:
        return self

    def opens(self, seen: Seen) -> torch.Tensor:
        memory = seen.memory
        change = mean_per_image((seen.input - memory["input"]).abs())
        expected = memory["rate"] * change / mean_per_image(memory["output"].abs())
        accumulated = memory["accumulated"] + expected
        opens = accumulated >= self.threshold
        memory["accumulated"] = accumulated.masked_fill(opens, 0.0)
        return opens

    def observe(self, seen: Seen, computed: bool) -> None:
        memory = seen.memory
        if "input" not in memory:
            memory["rate"] = memory["accumulated"] = torch.zeros(len(seen.input), device=seen.input.device)
        elif computed:
            change = mean_per_image((seen.input - memory["input"]).abs())
            memory["rate"] = mean_per_image((seen.output - memory["output"]).abs()) / change
        memory["input"], memory["output"] = seen.input, seen.output

    def bytes_kept(self, sizes: GateSizes) -> int:
        return sizes.input + sizes.output + 2 * 4 * sizes.images
