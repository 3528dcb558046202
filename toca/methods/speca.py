"""SpeCa: speculative feature caching (Liu et al., arXiv 2509.11628)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..axes.fills import Fill
from ..axes.fills.expansions import Taylor
from ..axes.gates import Gate, GateSizes, Observation, mean_per_image, relative_l1
from ..axes.sampling import Sampling
from ..checks import NonNegative, Order, SomeShare, SomeSteps, Steps, check
from ..models import Site
from ..registry import register
from .base import Method

COMPARED = ("output", "residual")
ERRORS = ("whole", "elements")
EPSILON = 1e-10


@register
@dataclass(frozen=True)
class VerifiedDrafts(Gate):
    """SpeCa's gate: opens after a draft whose last block, run on it, came out elsewhere; its fields are `SpeCa`'s."""

    threshold: NonNegative
    decay: SomeShare
    floor: NonNegative
    min_drafts: Steps
    max_drafts: Steps
    compared: str = "output"
    error: str = "whole"
    per_sample: bool = True

    name: ClassVar[str] = "verified-drafts"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.compared in COMPARED, "compared", self.compared, f"must be one of {', '.join(COMPARED)}")
        check(self.error in ERRORS, "error", self.error, f"must be one of {', '.join(ERRORS)}")

    def opens(self, now: Observation) -> torch.Tensor:
        threshold = max(self.floor, self.threshold * self.decay ** (now.step / now.num_inference_steps))
        error = now.memory["error"]
        # An error that is no number is too large.
        return (now.memory["drafts"] >= self.max_drafts) | ~((error <= threshold) & error.isfinite())

    def verifies(self, now: Observation) -> bool:
        return now.step < now.num_inference_steps - 1 and bool(self._due(now.memory["drafts"]).any())

    def _due(self, drafts: torch.Tensor) -> torch.Tensor:
        """Which images' next draft is verified, by the drafts (images,) that they have made in a row."""
        return (drafts >= self.min_drafts) & (drafts < self.max_drafts - 1)

    def observe(self, now: Observation, computed: bool) -> None:
        before = now.memory.get("drafts", torch.zeros(len(now.input), device=now.input.device))
        now.memory["drafts"] = torch.zeros_like(before) if computed else before + 1
        now.memory["error"] = torch.zeros_like(before)
        if now.verified is not None:
            # Another image of the batch may be why there is a verification at all.
            now.memory["error"] = self._error(now).masked_fill(~self._due(before), 0.0)

    def _error(self, now: Observation) -> torch.Tensor:
        start = now.before_last.float() if self.compared == "residual" else 0.0
        draft, verified = now.draft.float() - start, now.verified.float() - start
        if self.error == "whole":
            return relative_l1(draft, verified)
        return mean_per_image((draft - verified).abs() / (verified.abs() + EPSILON))

    def bytes_kept(self, sizes: GateSizes) -> int:
        return 2 * 4 * sizes.images


@register
@dataclass(frozen=True)
class SpeCa(Method):
    """Draft steps by TaylorSeer's forecast, verify a draft by running its last block, and compute the next step in
    full where the two differ.

    **When** (section 3.3, and the authors' code): after a step computed in full come drafts. Once d_min of them have
    been made in a row, the last block is run on what entered it in each further draft, and
    `e = mean |draft - verified| / mean |verified|` is taken of what leaves it; the step after is computed in full if
    `e > max(floor, tau_0 beta^(s / S))`, s its index, and at the latest after d_max drafts. The verified features are
    not used. A draft after which the next step is settled anyhow is not verified. **Which**: nothing is computed in a
    draft. **Fill**: each module's output by TaylorSeer of order O.

    Args:
        threshold (`float`, defaults to 0.1): tau_0.
        decay (`float`, defaults to 0.01): beta, by which the threshold has fallen at the end of sampling.
        floor (`float`, defaults to 0.01): Least threshold.
        min_drafts (`int`, defaults to 2): d_min.
        max_drafts (`int`, defaults to 5): d_max; 0 for no drafts at all.
        order (`int`, defaults to 4): O, the highest derivative of the forecast.
        compared (`str`, defaults to `"output"`): What e is taken of: what leaves the last block (`"output"`, the
            authors' DiT), or what it adds to its input (`"residual"`, their FLUX and HunyuanVideo).
        error (`str`, defaults to `"whole"`): `"whole"` for e as above; `"elements"` for `mean (|draft - verified| /
            |verified|)` over the single numbers, as in the authors' code, to which their thresholds belong. Numbers
            near 0 outweigh all others there, and rounding alone may decide.
        warmup_steps (`int`, defaults to 3): First steps that are computed in full. (The authors' code has a draft
            after each full step even there.)
        per_sample (`bool`, defaults to `True`): Whether each image of a batch decides for itself.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    threshold: NonNegative = 0.1
    decay: SomeShare = 0.01
    floor: NonNegative = 0.01
    min_drafts: Steps = 2
    max_drafts: Steps = 5
    order: Order = 4
    compared: str = "output"
    error: str = "whole"
    warmup_steps: SomeSteps = 3
    per_sample: bool = True

    name: ClassVar[str] = "speca"
    title: ClassVar[str] = "Liu et al., ACM MM 2025, arXiv 2509.11628"
    knob: ClassVar[str | None] = "threshold"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.gate()

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step < self.warmup_steps

    def filling(self) -> Fill:
        return Taylor(self.order)

    def gate(self) -> Gate:
        return VerifiedDrafts(
            threshold=self.threshold,
            decay=self.decay,
            floor=self.floor,
            min_drafts=self.min_drafts,
            max_drafts=self.max_drafts,
            compared=self.compared,
            error=self.error,
            per_sample=self.per_sample,
        )
