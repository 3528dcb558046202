"""A call: everything that the engine knows of the transformer call that is under way."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from ..axes.sampling import NoiseLevel
from ..memory.branch import BranchMemory
from ..models import FamilySpec
from ..models.shape import CallKey
from ..plan.table import PlanTable
from .arguments import own_copy, rows_of_call, some_rows
from .job import Job
from .ranks import Ranks
from .record import GenerationRecord
from .tick import Tick


@dataclass(eq=False)
class Call:
    """A transformer call that is under way.

    Args:
        transformer (`nn.Module`): The model.
        spec (`FamilySpec`): Its family.
        plan (`PlanTable`): The plan of the generation.
        tick (`Tick`): Its place: branch, step, number of steps.
        key (`CallKey`): Its sizes, dtype and device.
        arguments (`dict[str, Any]`): By name.
        record (`GenerationRecord`): The books of the generation.
        noise (`Callable`): `() -> NoiseLevel`: how noisy its latents are.
        compiled (`bool`): Whether the blocks are compiled.
        memory (`BranchMemory`): Of its branch; set when it has been looked up.
        jobs (`list[Job]`): The passes that it takes.
        job (`Job` or `None`): The one that is under way.
        mark (`tuple[int, int]`): How far the books had come before it.
    """

    transformer: nn.Module
    spec: FamilySpec
    plan: PlanTable
    tick: Tick
    key: CallKey
    arguments: dict[str, Any]
    record: GenerationRecord
    noise: Callable[[], NoiseLevel]
    compiled: bool = False
    memory: BranchMemory = field(init=False)
    jobs: list[Job] = field(default_factory=list)
    job: Job | None = None
    mark: tuple[int, int] = (0, 0)

    @property
    def step(self) -> int:
        """Index of the step."""
        return self.tick.step

    @property
    def latents(self) -> torch.Tensor:
        """(B, ...): the model's input."""
        latents = self.spec.latents_of(self.arguments)
        assert latents is not None, "calls whose samples differ in size run in full"
        return latents

    @property
    def batch(self) -> int:
        """Rows of the call."""
        return self.key.shape.batch

    @property
    def is_last(self) -> bool:
        """Whether its step is the last of the generation."""
        return self.step == self.tick.num_inference_steps - 1

    def latents_of(self, job: Job) -> torch.Tensor:
        """The model's input for a job's rows."""
        return rows_of_call(self.latents, job.part.rows)

    def arguments_of(self, job: Job) -> dict[str, Any]:
        """The arguments for a job's rows, in containers of their own."""
        return some_rows(self.arguments, self.spec, job.part.rows, self.batch)

    def own_arguments(self) -> dict[str, Any]:
        """All arguments, in containers of their own."""
        return own_copy(self.arguments)


def key_of(
    spec: FamilySpec,
    transformer: nn.Module,
    arguments: dict[str, Any],
    latents: torch.Tensor,
    cache_dtype: torch.dtype | None = None,
    ranks: Ranks | None = None,
    adapters: Hashable = None,
) -> CallKey:
    """What of a call must not change within a generation."""
    shape, inference = spec.call_shape(transformer, arguments), torch.is_inference_mode_enabled()
    key = CallKey(shape, latents.dtype, latents.device, inference, cache_dtype, adapters=adapters)
    return key if ranks is None else replace(key, shape=ranks.shape(shape), around=shape)


def grid_of(call: Call) -> tuple[int, int, int] | None:
    """Frames, rows and columns of a sample's image tokens; `None` where they form no grid. Where only the model's
    input tells them it is one look at the device."""
    shape = call.key.whole
    grid = shape.grid
    if grid is None and call.spec.grid is not None:
        grid = call.spec.grid(call.arguments)
    if grid is None or shape.image_tokens % (grid[0] * grid[1]):
        return None
    return shape.image_tokens // (grid[0] * grid[1]), *grid
