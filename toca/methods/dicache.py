"""DiCache: let diffusion model determine its own cache (Bu et al., arXiv 2508.17356)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..axes.fills import Fill
from ..axes.fills.two_point import TwoPoint
from ..axes.gates import Gate, GateSizes, Observation, mean_per_image, reaches, relative_l1
from ..axes.sampling import Sampling
from ..axes.spans import Span
from ..checks import NonNegative, SomeLayers, SomeSteps, check
from ..models import Site
from ..registry import register
from .base import Method

GAMMA = 1.0, 1.5
"""Bounds of gamma in the authors' code."""


@register
@dataclass(frozen=True)
class Probe(Gate):
    """DiCache's gate: opens once the change of the first blocks' output, beyond that of their input, has added up.

    Args:
        threshold (`float`): delta, the change that adds up between two steps computed.
        probe_blocks (`int`, defaults to 1): m.
        per_sample (`bool`, defaults to `True`): Whether each image of a batch decides for itself.
    """

    threshold: NonNegative
    probe_blocks: SomeLayers = 1
    per_sample: bool = True

    name: ClassVar[str] = "probe"

    @property
    def probe(self) -> int:  # type: ignore[override]
        return self.probe_blocks

    def opens(self, now: Observation) -> torch.Tensor:
        memory = now.memory
        change = relative_l1(now.probe, memory["probe"]) - relative_l1(now.entering, memory["entering"])
        memory["accumulated"] = memory["accumulated"] + change.abs()
        return reaches(memory["accumulated"], self.threshold)

    def observe(self, now: Observation, computed: bool) -> None:
        memory = now.memory
        memory["entering"], memory["probe"] = now.entering, now.probe
        if computed:
            memory["accumulated"] = torch.zeros(len(now.probe), device=now.probe.device)
            added = now.probe - now.entering
            memory["added_before"] = memory.get("added", torch.zeros_like(added))
            memory["added"] = added

    def weights_of(self, now: Observation) -> list[float | torch.Tensor]:
        added, before = now.memory["added"], now.memory["added_before"]
        gamma = mean_per_image((now.probe - now.entering - before).abs()) / mean_per_image((added - before).abs())
        # The probe stood still (0 / 0): so does what it tells of.
        return [1.0, gamma.nan_to_num(nan=1.0).clamp(*GAMMA) - 1]

    def bytes_kept(self, sizes: GateSizes) -> int:
        return 4 * sizes.hidden + 4 * sizes.images


@register
@dataclass(frozen=True)
class DiCache(Method):
    """Run the first blocks of every step: how they change tells when all blocks are due, and how far they have gone on
    their way tells how far to go on with what was cached.

    **When** (section 3.2): the first m blocks are a probe. With h the hidden states that enter block 0 and p those
    that leave the probe, `acc += |d(p) - d(h)|`, `d(v) = mean |v - v'| / mean |v'|` against the step before; a step is
    computed, going on from the probe, once `acc >= threshold`, which sets acc to 0. The first steps and the last one
    are computed. **Which**: no token. **Fill** (section 3.3): with R1 and R2 what all blocks together added in the
    last step computed and in the one before it, and Q1, Q2, Q what the probe added then and adds now,
    `R2 + gamma (R1 - R2)`, `gamma = mean |Q - Q2| / mean |Q1 - Q2|` held between 1 and 1.5.

    Args:
        threshold (`float`, defaults to 0.08): delta, the change that adds up between two steps computed.
        probe_blocks (`int`, defaults to 1): m.
        warmup_steps (`int`, defaults to 1): First steps that are computed.
        per_sample (`bool`, defaults to `True`): Whether each image of a batch decides for itself.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    threshold: NonNegative = 0.08
    probe_blocks: SomeLayers = 1
    warmup_steps: SomeSteps = 1
    per_sample: bool = True

    name: ClassVar[str] = "dicache"
    title: ClassVar[str] = "Bu et al., ICLR 2026, arXiv 2508.17356"
    knob: ClassVar[str | None] = "threshold"

    def check_fits(self, sampling: Sampling) -> None:
        super().check_fits(sampling)
        least = f"must leave some of the model's {sampling.layers} blocks unprobed"
        check(self.probe_blocks < sampling.layers, "probe_blocks", self.probe_blocks, least)

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step < self.warmup_steps or step == sampling.num_inference_steps - 1

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return (Span(0, sampling.layers, forecasts=True),)

    def gate(self) -> Gate:
        return Probe(self.threshold, self.probe_blocks, self.per_sample)

    def filling(self) -> Fill:
        return TwoPoint("gate")
