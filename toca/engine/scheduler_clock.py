"""The clock of a pipeline, whose scheduler knows the step."""

from __future__ import annotations

import weakref
from typing import Any

import torch

from ..axes.sampling import NoiseLevel
from .branch_names import Told
from .noise_levels import noise_level
from .tick import NotPlaced, Tick, branch_of
from .timesteps import FRAMES_APART, Reading, by_frame, is_one, parts_frames


class SchedulerClock:
    """For a pipeline: its scheduler's `timesteps` and `step_index` tell the step.

    The call's timestep must be the schedule's at that step. Where it is not, the call comes from somewhere else, for
    example from a pipeline that shares the transformer and has a scheduler of its own: it, and all that follow until
    the scheduler's timesteps are set anew, have no place. Schedulers without a `step_index` (DDIM, DDPM) are asked by
    the timestep alone. A pipeline that says the step in `cache_context` is believed. The scheduler is looked up
    anew in every call, so it may be exchanged at any time. It has many attributes, for it tells apart all that
    pipelines do to a scheduler.

    Args:
        pipeline (`DiffusionPipeline`): Held weakly.
        takes_turns (`bool`): Whether the pipeline has other transformers that may run the first steps (Wan 2.2), so
            that a late start is no image-to-image.
        reading (`Reading`): How its timestep is read off the one that the model is called with.
    """

    def __init__(self, pipeline: Any, takes_turns: bool, reading: Reading):
        self.pipeline = weakref.ref(pipeline)
        self.takes_turns, self.reading = takes_turns, reading
        self.scheduler = pipeline.scheduler
        self.reset()

    def reset(self) -> None:
        """The next call starts a generation."""
        self.schedule: Any = None
        self.source: torch.Tensor | None = None
        self.agrees = False
        self.values: list[float] = []
        self.first = self.current = 0
        self.calls: dict[str | None, int] = {}
        self.frames: torch.Tensor | None = None
        self.lost = self.disturbed = False
        self.spoilt: torch.Tensor | None = None

    def give_up(self) -> None:
        """Nothing to do: the scheduler's timesteps are new for each generation."""

    def pass_by(self, timestep: torch.Tensor | None) -> None:
        """Nothing to do: the scheduler tells the step of the next call."""

    def timesteps_of_generation(self) -> tuple[float, ...]:
        """The timesteps of the generation's steps."""
        return tuple(self.values[self.first :])

    def level_at(self, step: int) -> NoiseLevel:
        """How noisy the latents of a step of the generation are."""
        position = self.first + step
        return noise_level(self.scheduler, position, self.values[position])

    def begins_anew(self, timestep: torch.Tensor | None) -> bool:
        """Whether a call of somebody else can only be the first of a generation: `set_timesteps` makes a new tensor
        for each, also after an aborted one."""
        self._look_up()
        return self.scheduler.timesteps is not self.schedule

    def is_at_start(self, timestep: torch.Tensor | None) -> bool:
        """Whether a call can be the first of a generation."""
        self._look_up()
        begin = getattr(self.scheduler, "begin_index", None) or 0
        return timestep is not None and self.reading.is_near(timestep, float(self.scheduler.timesteps[begin]))

    def tick(self, told: Told, timestep: torch.Tensor | None, latents: torch.Tensor) -> Tick:
        """Place a call; the arguments are `TimestepClock.tick`'s.

        Raises:
            NotPlaced: If the timestep is not the schedule's, or not the same for all frames.
            RuntimeError: If somebody has set the scheduler's timesteps anew in the middle of the loop.
        """
        name = told.name
        self._look_up()
        if self._is_broken_into(name, timestep):
            # Two loops have stepped this schedule: it is of no use for either.
            self.spoilt = self.scheduler.timesteps
            raise RuntimeError(SET_ANEW)
        source = self.reading.schedule_of(timestep)
        # A loop takes its timesteps from one tensor: another tensor is another loop.
        known = source is not None and self.source is not None
        same_loop = source is not None and self.source is not None and is_one(source, self.source)
        renewed = self.scheduler.timesteps is not self.schedule and not self._goes_on(name, timestep, same_loop)
        renewed = renewed or (known and not same_loop)
        if renewed:
            self.reset()
            self.values = self.scheduler.timesteps.tolist()
        self.schedule, self.source, self.agrees = self.scheduler.timesteps, source, self.agrees and same_loop
        position = self._place(told, timestep)
        if position == self.current and self.calls and parts_frames(timestep, latents.shape[0], self.frames):
            self.lost = True
            raise NotPlaced(FRAMES_APART, ends=True)
        new_generation = renewed or position < self.current
        if new_generation:
            self.first = 0 if self.takes_turns else position
        if new_generation or position != self.current:
            self.current, self.frames = position, by_frame(timestep, latents.shape[0])
            self.calls.clear()
        steps = len(self.values) - self.first
        first = 0 if name is None else name
        return Tick(branch_of(self.calls, name, first), position - self.first, steps, new_generation)

    def _look_up(self) -> None:
        # The pipeline may be gone while another one made from it goes on with its scheduler.
        self.scheduler = getattr(self.pipeline(), "scheduler", self.scheduler)

    def _goes_on(self, name: str | None, timestep: torch.Tensor | None, same_loop: bool) -> bool:
        """Whether a new schedule, equal to the old one, was set by somebody who was then refused, or is going to be:
        the loop at hand goes on with its own."""
        if not (self.disturbed or same_loop) or self.scheduler.timesteps.tolist() != self.values:
            return False
        self.disturbed = False
        return self._is_next(name, timestep)

    def _is_next(self, name: str | None, timestep: torch.Tensor | None) -> bool:
        """Whether a call is the one that the loop at hand makes next."""
        position = self._nearest(timestep, self.current)
        return position == self.current + 1 or (position == self.current and not self.calls.get(name, 0))

    def _is_broken_into(self, name: str | None, timestep: torch.Tensor | None) -> bool:
        """Whether the loop at hand goes on with a scheduler whose timesteps have been set anew meanwhile, so that its
        latents are stepped wrongly: it has forgotten where it was, or has another schedule."""
        timesteps = self.scheduler.timesteps
        if timesteps is self.spoilt:
            return True
        if self.schedule is None or self.lost or timesteps is self.schedule or self.is_at_start(timestep):
            return False
        forgets = hasattr(self.scheduler, "step_index") or timesteps.tolist() != self.values
        return forgets and self._is_next(name, timestep)

    def _place(self, told: Told, timestep: torch.Tensor | None) -> int:
        placed = not (self.lost or self._is_unset() or self._is_of_another_schedule())
        position = self._told_position(told) if placed else None
        position = self._position(timestep) if placed and position is None else position
        if position is None:
            self.lost = True
            raise NotPlaced(
                "A transformer call's timestep is not where its pipeline's scheduler is: it comes from somewhere "
                "else, such as a pipeline made by `from_pipe` with a scheduler of its own, and runs in full. Put the "
                "cache on the pipeline that you call, `with toca.cached(pipeline, method): ...`.",
                ends=True,
            )
        return position

    def _is_unset(self) -> bool:
        """Whether `set_timesteps` was never called: the schedule is that of training."""
        if getattr(self.scheduler, "num_inference_steps", None) is not None:
            return False
        config = getattr(self.scheduler, "config", None)
        return len(self.values) == getattr(config, "num_train_timesteps", None)

    def _is_of_another_schedule(self) -> bool:
        """Whether the loop's timesteps are not the scheduler's; asked once a loop, for the device is waited for."""
        if self.source is None or self.agrees:
            return False
        self.agrees = self.source.tolist() == self.values
        return not self.agrees

    def _told_position(self, told: Told) -> int | None:
        """Place in the schedule of the step that the caller has said; its loop may have the last ones alone."""
        steps = told.num_inference_steps
        if steps is None or steps > len(self.values):
            return None
        step = told.step_of(steps)
        return None if step is None else len(self.values) - steps + step

    def _position(self, timestep: torch.Tensor | None) -> int | None:
        """Place of the call in the schedule; `None` if it has none."""
        index = getattr(self.scheduler, "step_index", None)
        if index is None:
            # Before the scheduler's first step.
            return self._nearest(timestep, getattr(self.scheduler, "begin_index", None) or self.current)
        index = int(index)
        return index if index < len(self.values) and self._is_at(timestep, index) else None

    def _nearest(self, timestep: torch.Tensor | None, start: int) -> int | None:
        """The entry of the schedule that the call's timestep is; of equal ones the first from `start` on."""
        if timestep is None:
            return None
        if self.reading.schedule_of(timestep) is not None:
            return int(timestep.storage_offset())
        if self.reading.scale is None:
            return start
        places = [(off, place < start, place) for off, place in self.reading.places(timestep, self.values)]
        return min(places)[2] if places else None

    def _is_at(self, timestep: torch.Tensor | None, position: int) -> bool:
        """Whether the call's timestep is the schedule's at a place."""
        if timestep is not None and self.reading.schedule_of(timestep) is not None:
            return bool(timestep.storage_offset() == position)
        return timestep is not None and self.reading.is_near(timestep, self.values[position])


SET_ANEW = (
    "The scheduler's timesteps were set anew in the middle of a generation, by another thread or task: a pipeline "
    "serves one generation at a time, so run them one after the other (under a lock), or give each thread a pipeline "
    "of its own. toca.reset(target) forgets this one."
)
