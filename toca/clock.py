"""Which step a transformer call belongs to, and to which branch.

Three clocks, because pipelines differ in what they tell: a bare transformer's calls are counted; a pipeline's
scheduler knows the step. A branch is what the pipeline names in `cache_context`, and the position of the call among
the calls of that name, or of no name, in its step.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Tick:
    """One call's place: its branch, its step, the number of steps, and whether a generation starts with it."""

    branch: Hashable
    step: int
    num_inference_steps: int
    new_generation: bool


class CallCounter:
    """For a transformer without a pipeline: each call of a branch is a step.

    Args:
        num_inference_steps (`int`): Calls of a branch in one generation.
    """

    def __init__(self, num_inference_steps: int):
        self.num_inference_steps = num_inference_steps
        self.calls: dict[Hashable, int] = {}

    def reset(self) -> None:
        self.calls.clear()

    def give_up(self) -> None:
        """The generation was broken off: the next call starts one."""
        self.reset()

    def timesteps_of_generation(self) -> tuple[float, ...]:
        """Nothing is known of them."""
        return ()

    def tick(self, name: str | None, timestep: torch.Tensor | None) -> Tick:
        done = self.calls.get(name, 0)
        # A branch that has had its steps calls again: the next generation, for all branches.
        new_generation = not self.calls or done == self.num_inference_steps
        if new_generation:
            self.calls.clear()
            done = 0
        self.calls[name] = done + 1
        return Tick(name, done, self.num_inference_steps, new_generation)


class SchedulerClock:
    """For a pipeline: its scheduler's `timesteps` and `step_index` tell the step, and no device is waited for.

    Schedulers without a `step_index` (DDIM, DDPM) are asked by the call's timestep: where it is a view of the
    schedule its place tells, else its value, which is read back from its device. The scheduler is looked up at each
    call, so it may be exchanged at any time.

    Args:
        pipeline (`DiffusionPipeline`): Held weakly.
        takes_turns (`bool`): Whether the pipeline has other transformers that may run the first steps (Wan 2.2), so
            that a late start is no image-to-image.
    """

    def __init__(self, pipeline: Any, takes_turns: bool):
        self.pipeline = weakref.ref(pipeline)
        self.takes_turns = takes_turns
        self.scheduler = pipeline.scheduler
        self.reset()

    def reset(self) -> None:
        self.timesteps: torch.Tensor | None = None
        self.values: list[float] = []
        self.first = self.current = 0
        self.calls: dict[str | None, int] = {}

    def give_up(self) -> None:
        """Nothing to do: the scheduler's timesteps are new for each generation."""

    def timesteps_of_generation(self) -> tuple[float, ...]:
        """The timesteps of the generation's steps; read from their device once a generation."""
        self._read_values()
        return tuple(self.values[self.first :])

    def tick(self, name: str | None, timestep: torch.Tensor | None) -> Tick:
        # The pipeline may be gone while another one made from it goes on with its scheduler.
        self.scheduler = scheduler = getattr(self.pipeline(), "scheduler", self.scheduler)
        # `set_timesteps` makes a new tensor for each generation, also after an aborted one.
        new_timesteps = scheduler.timesteps is not self.timesteps
        if new_timesteps:
            self.reset()
            self.timesteps = scheduler.timesteps
        position = self._position(scheduler, timestep)
        new_generation = new_timesteps or position < self.current
        if new_generation:
            # A scheduler that has run to its end is not sampling: the call is none of a pipeline's.
            late = self.takes_turns or position >= len(self.timesteps)
            self.first = 0 if late else position
        if new_generation or position != self.current:
            self.current = position
            self.calls.clear()
        return Tick(self._branch(name), position - self.first, len(self.timesteps) - self.first, new_generation)

    def _branch(self, name: str | None) -> Hashable:
        before = self.calls.get(name, 0)
        self.calls[name] = before + 1
        if name is None:
            return before
        return (name, before) if before else name

    def _position(self, scheduler: Any, timestep: torch.Tensor | None) -> int:
        if not hasattr(scheduler, "step_index"):
            return self._position_of(timestep)
        # `None` until the scheduler's first step.
        begin = getattr(scheduler, "begin_index", None) or 0
        return begin if scheduler.step_index is None else int(scheduler.step_index)

    def _position_of(self, timestep: torch.Tensor | None) -> int:
        """The entry of the schedule that is nearest to the call's timestep."""
        if timestep is None:
            return 0
        if isinstance(timestep, torch.Tensor) and _shares_memory(timestep, self.timesteps):
            return (timestep.storage_offset() - self.timesteps.storage_offset()) // self.timesteps.stride(0)
        self._read_values()
        value = float(timestep.flatten()[0]) if isinstance(timestep, torch.Tensor) else float(timestep)
        return min(range(len(self.values)), key=lambda i: abs(self.values[i] - value))

    def _read_values(self) -> None:
        if not self.values:
            self.values = [float(value) for value in self.timesteps]


def _shares_memory(timestep: torch.Tensor, timesteps: torch.Tensor) -> bool:
    return timestep.untyped_storage().data_ptr() == timesteps.untyped_storage().data_ptr()


def make_clock(pipeline: Any, num_inference_steps: int | None, takes_turns: bool) -> CallCounter | SchedulerClock:
    """The clock of a pipeline that has a scheduler, else a counter of calls."""
    if getattr(pipeline, "scheduler", None) is not None:
        return SchedulerClock(pipeline, takes_turns)
    return CallCounter(num_inference_steps)
