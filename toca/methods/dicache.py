"""DiCache: let diffusion model determine its own cache (Bu et al., arXiv 2508.17356)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..axes.forecast import Fill
from ..axes.gates import Gate, GateSizes, Seen, mean_per_image, reaches, relative_l1
from ..axes.sampling import Sampling
from ..axes.spans import Span
from ..checks import NonNegative, SomeLayers, SomeSteps, check
from ..models import Site
from .base import Method

GAMMA = 1.0, 1.5
"""Bounds of gamma in the authors' code."""


@dataclass(frozen=True)
class DiCache(Method, Gate, Fill):
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
    reads_history: ClassVar[bool] = False

    def check_fits(self, sampling: Sampling) -> None:
        super().check_fits(sampling)
        least = f"must leave some of the model's {sampling.layers} blocks unprobed"
        check(self.probe_blocks < sampling.layers, "probe_blocks", self.probe_blocks, least)

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step < self.warmup_steps or step == sampling.num_inference_steps - 1

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return (Span(0, sampling.layers, forecasts=True),)

    def gate(self) -> Gate:
        return self

    @property
    def probe(self) -> int:
        return self.probe_blocks

    def opens(self, seen: Seen) -> torch.Tensor:
        memory = seen.memory
        change = relative_l1(seen.probe, memory["probe"]) - relative_l1(seen.entering, memory["entering"])
        memory["accumulated"] = memory["accumulated"] + change.abs()
        return reaches(memory["accumulated"], self.threshold)

    def observe(self, seen: Seen, computed: bool) -> None:
        memory = seen.memory
        memory["entering"], memory["probe"] = seen.entering, seen.probe
        if computed:
            memory["accumulated"] = torch.zeros(len(seen.probe), device=seen.probe.device)
            added = seen.probe - seen.entering
            memory["added_before"] = memory.get("added", torch.zeros_like(added))
            memory["added"] = added

    def filling(self) -> Fill:
        return self

    @property
    def fill_order(self) -> int:
        return 1

    def scales(self, history: Sequence[int]) -> list[float]:
        """f_1 = R1 - R2."""
        return [1.0]

    def weights(self, step: int, history: Sequence[int], num_inference_steps: int) -> list[float]:
        """gamma - 1 where no probe tells: R1 is reused."""
        return [0.0]

    def weights_of(self, seen: Seen) -> list[torch.Tensor]:
        added, before = seen.memory["added"], seen.memory["added_before"]
        gamma = mean_per_image((seen.probe - seen.entering - before).abs()) / mean_per_image((added - before).abs())
        # The probe stood still (0 / 0): so does what it tells of.
        return [gamma.nan_to_num(nan=1.0).clamp(*GAMMA) - 1]

    def bytes_kept(self, sizes: GateSizes) -> int:
        return 4 * sizes.hidden + 4 * sizes.images
