"""First- and last-block caches: FBCache (ParaAttention, Cheng, 2025) and DBCache (cache-dit, 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..axes.gates import Gate, GateSizes, Observation, reaches, relative_l1
from ..axes.sampling import Sampling
from ..axes.spans import Span
from ..checks import Layers, NonNegative, SomeLayers, SomeSteps, Steps
from ..models import Site
from ..registry import register
from .base import Method


@register
@dataclass(frozen=True)
class FirstBlocks(Gate):
    """DBCache's and FBCache's gate: opens where what the first blocks add to their input has changed.

    Args:
        threshold (`float`): Largest change that is let pass.
        first_blocks (`int`): F, how many blocks are the probe.
        max_cached_steps (`int`, defaults to 0): Most steps in a row that are not computed in full; 0 for any number.
        per_sample (`bool`, defaults to `True`): Whether each image of a batch decides for itself.
    """

    threshold: NonNegative
    first_blocks: SomeLayers
    max_cached_steps: Steps = 0
    per_sample: bool = True

    name: ClassVar[str] = "first-blocks"

    @property
    def probe(self) -> int:  # type: ignore[override]
        return self.first_blocks

    def opens(self, now: Observation) -> torch.Tensor:
        opens = reaches(relative_l1(now.probe - now.entering, now.memory["residual"]), self.threshold)
        if self.max_cached_steps:
            opens |= now.memory["cached_steps"] >= self.max_cached_steps
        return opens

    def observe(self, now: Observation, computed: bool) -> None:
        images = len(now.probe)
        if computed:
            now.memory["residual"] = now.probe - now.entering
        if self.max_cached_steps:
            before = now.memory.get("cached_steps", torch.zeros(images, device=now.probe.device))
            now.memory["cached_steps"] = torch.zeros_like(before) if computed else before + 1

    def bytes_kept(self, sizes: GateSizes) -> int:
        return sizes.hidden + (4 * sizes.images if self.max_cached_steps else 0)


@register
@dataclass(frozen=True)
class DBCache(Method):
    """Run the first blocks; where what they add to their input has hardly changed, leave out the blocks in the middle.

    **When**: the first F blocks are a probe. With R their residual (what leaves them minus what enters them), a step
    is computed in full if `mean |R - R'| / mean |R'| >= threshold`, R' that of the last step computed in full.
    **Which**: in the other steps the first F and the last B blocks. **Fill**: what the blocks between them added in
    the last step computed in full.

    Args:
        threshold (`float`, defaults to 0.08): Largest change that is let pass.
        first_blocks (`int`, defaults to 8): F.
        last_blocks (`int`, defaults to 0): B.
        warmup_steps (`int`, defaults to 8): First steps that are computed in full.
        max_cached_steps (`int`, defaults to 0): Most steps in a row that are not computed in full; 0 for any number.
        per_sample (`bool`, defaults to `True`): Whether each image of a batch decides for itself.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    threshold: NonNegative = 0.08
    first_blocks: SomeLayers = 8
    last_blocks: Layers = 0
    warmup_steps: SomeSteps = 8
    max_cached_steps: Steps = 0
    per_sample: bool = True

    name: ClassVar[str] = "dbcache"
    title: ClassVar[str] = "cache-dit, 2025 (software; no paper)"
    knob: ClassVar[str | None] = "threshold"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step < self.warmup_steps or site.layer < self.first_blocks or self._is_last(site.layer, sampling)

    def _is_last(self, layer: int, sampling: Sampling) -> bool:
        return layer >= sampling.layers - self.last_blocks

    def spans(self, step: int, sampling: Sampling) -> tuple[Span, ...]:
        return (Span(self.first_blocks, sampling.layers - self.last_blocks),)

    def check_fits(self, sampling: Sampling) -> None:
        super().check_fits(sampling)
        if self.first_blocks + self.last_blocks >= sampling.layers:
            raise ValueError(
                f"`first_blocks` + `last_blocks` must leave some of the model's {sampling.layers} blocks between "
                f"them, got {self.first_blocks} + {self.last_blocks}."
            )

    def gate(self) -> Gate:
        return FirstBlocks(self.threshold, self.first_blocks, self.max_cached_steps, self.per_sample)


@register
@dataclass(frozen=True)
class FBCache(DBCache):
    """Run the first block; where what it adds to its input has hardly changed, leave out all the others.

    **When**: with R what block 0 adds to its input, a step is computed in full if
    `mean |R - R'| / mean |R'| >= threshold`, R' that of the last step computed in full. **Which**: block 0.
    **Fill**: what the other blocks added in the last step computed in full.

    Args:
        threshold (`float`, defaults to 0.05): Largest change that is let pass.
        first_blocks (`int`, defaults to 1): Blocks of the probe.
        last_blocks (`int`, defaults to 0): Blocks at the end that always run.
        warmup_steps (`int`, defaults to 1): First steps that are computed in full.
        max_cached_steps (`int`, defaults to 0): Most steps in a row that are not computed in full; 0 for any number.
        per_sample (`bool`, defaults to `True`): Whether each image of a batch decides for itself.
    """

    threshold: NonNegative = 0.05
    first_blocks: SomeLayers = 1
    warmup_steps: SomeSteps = 1

    name: ClassVar[str] = "fbcache"
    title: ClassVar[str] = "ParaAttention, 2025 (software; no paper)"
