"""Outputs of the model that are known before it runs, and outputs to be kept: rehearsals of a generation.

A rehearsal goes through the same generation many times with another plan each time. What the first steps return it
knows, from the time before: the pipeline's loop takes them as if the model had made them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

import torch

from .tick import Tick

Place = tuple[int, Hashable]
"""A step, and a branch of guidance."""


@dataclass
class Script:
    """What an engine is told beforehand of a generation, and what it is to write down.

    Args:
        outputs (`Mapping[Place, torch.Tensor]`): What the model has returned before, (B, ...) each.
        steps (`frozenset[int]`): The steps in which it is returned again, and no block runs. Nothing is remembered of
            them, and what was remembered before stays.

    Attributes:
        returned (`dict[Place, torch.Tensor]`): What was returned in the other steps.
        given (`list[torch.Tensor]`): The latents that calls were given, the caller's own; to be emptied by who looks.
    """

    outputs: Mapping[Place, torch.Tensor] = field(default_factory=dict)
    steps: frozenset[int] = frozenset()
    returned: dict[Place, torch.Tensor] = field(default_factory=dict)
    given: list[torch.Tensor] = field(default_factory=list)

    def output_of(self, tick: Tick) -> torch.Tensor | None:
        """What a call returns that need not run; `None` for all others."""
        return self.outputs.get((tick.step, tick.branch)) if tick.step in self.steps else None

    def note(self, tick: Tick, latents: torch.Tensor, sample: torch.Tensor) -> None:
        """Write down what a call was given, and what it has returned."""
        self.given.append(latents)
        if tick.step not in self.steps:
            self.returned[tick.step, tick.branch] = sample.detach().clone()
