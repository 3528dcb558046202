"""Which step a transformer call belongs to, and to which branch.

Two clocks, because callers differ in what they tell: a pipeline's scheduler knows the step; the calls of a bare
transformer are told apart by their timesteps. A branch is what the pipeline names in `cache_context`, and the position
of the call among the calls of that name, or of no name, in its step.

A call that has no place in the schedule at hand is none of the generation's: it gets no step, and so no memory.
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


class NotPlaced(ValueError):
    """A call that belongs to no step; the message says why, `ends` whether the generation at hand is over with it."""

    def __init__(self, message: str, ends: bool = False):
        super().__init__(message)
        self.ends = ends


class TimestepClock:
    """For a transformer without a pipeline: every timestep is a step, and timesteps fall during a generation.

    A timestep that is not below the one before starts a generation, but for calls at the same timestep with the same
    latents: these are branches of guidance. Requests may so have any number of steps up to the one that was told.

    Args:
        num_inference_steps (`int`): Steps of a generation.
        timestep_scale (`float`, defaults to 1): The scheduler's timestep over the one that the model is called with.
    """

    schedule = scheduler = None

    def __init__(self, num_inference_steps: int, timestep_scale: float = 1.0):
        self.num_inference_steps, self.scale = num_inference_steps, timestep_scale
        self.reset()

    def reset(self) -> None:
        """The next call starts a generation."""
        self.first: float | None = None
        self.current: float | None = None
        self.step = 0
        self.calls: dict[str | None, int] = {}
        self.latents: torch.Tensor | None = None
        self.disturbed = False

    def give_up(self) -> None:
        """The generation was broken off: the next call starts one."""
        self.reset()

    def pass_by(self, timestep: torch.Tensor | None) -> None:
        """A call that is not to be placed: the step that it is the first of counts like any other."""
        value = _number(timestep)
        if value is not None and self.current is not None and value < self.current:
            self.step += 1
            self.current, self.latents = value, None
            self.calls.clear()

    def timesteps_of_generation(self) -> tuple[float, ...]:
        """Nothing is known of them."""
        return ()

    def begins_anew(self, timestep: torch.Tensor | None) -> bool:
        """Whether a call of somebody else can only be the first of a generation."""
        value = _number(timestep)
        return self.first is None or (value is not None and value >= self.first)

    def is_at_start(self, timestep: torch.Tensor | None) -> bool:
        """Whether a call can be the first of a generation."""
        return self.begins_anew(timestep)

    def tick(self, name: str | None, timestep: torch.Tensor | None, latents: torch.Tensor) -> Tick:
        """Place a call.

        Args:
            name (`str` or `None`): Of its branch.
            timestep (`torch.Tensor` or `None`): (B,) or a number: what the model is called with.
            latents (`torch.Tensor`): (B, ...): the model's input.

        Raises:
            NotPlaced: If the call has no timestep, or there are more of them than was told.
        """
        value = _number(timestep)
        if value is None:
            raise NotPlaced("Without a timestep a call of a bare transformer has no place: it runs in full.")
        new_generation = self.current is None or value > self.current
        if value == self.current and self.calls.get(name, 0):
            new_generation = self.num_inference_steps == 1 or not _same_latents(latents, self.latents)
        if new_generation:
            self.reset()
            self.first = value
        elif value != self.current:
            self.step += 1
        if new_generation or value != self.current or not self.calls:
            self.current, self.latents = value, latents
            self.calls.clear()
        if self.step >= self.num_inference_steps:
            raise NotPlaced(
                f"This generation has more steps than the {self.num_inference_steps} of `num_inference_steps`: the "
                "others run in full. Enable the cache with the number of steps that you use."
            )
        return Tick(_branch(self.calls, name, name), self.step, self.num_inference_steps, new_generation)


class SchedulerClock:
    """For a pipeline: its scheduler's `timesteps` and `step_index` tell the step.

    The call's timestep must be the schedule's at that step. Where it is not, the call comes from somewhere else, for
    example from a pipeline that shares the transformer and has a scheduler of its own: it, and all that follow until
    the scheduler's timesteps are set anew, have no place. Schedulers without a `step_index` (DDIM, DDPM) are asked by
    the timestep alone. The scheduler is looked up at each call, so it may be exchanged at any time.

    Args:
        pipeline (`DiffusionPipeline`): Held weakly.
        takes_turns (`bool`): Whether the pipeline has other transformers that may run the first steps (Wan 2.2), so
            that a late start is no image-to-image.
        timestep_scale (`float`, defaults to 1): The scheduler's timestep over the one that the model is called with.
    """

    def __init__(self, pipeline: Any, takes_turns: bool, timestep_scale: float = 1.0):
        self.pipeline = weakref.ref(pipeline)
        self.takes_turns, self.scale = takes_turns, timestep_scale
        self.scheduler = pipeline.scheduler
        self.reset()

    def reset(self) -> None:
        """The next call starts a generation."""
        self.schedule: Any = None
        self.source: torch.Tensor | None = None
        self.values: list[float] = []
        self.first = self.current = 0
        self.calls: dict[str | None, int] = {}
        self.lost = self.disturbed = False
        self.spoilt: torch.Tensor | None = None

    def give_up(self) -> None:
        """Nothing to do: the scheduler's timesteps are new for each generation."""

    def pass_by(self, timestep: torch.Tensor | None) -> None:
        """Nothing to do: the scheduler tells the step of the next call."""

    def timesteps_of_generation(self) -> tuple[float, ...]:
        """The timesteps of the generation's steps."""
        return tuple(self.values[self.first :])

    def begins_anew(self, timestep: torch.Tensor | None) -> bool:
        """Whether a call of somebody else can only be the first of a generation: `set_timesteps` makes a new tensor
        for each, also after an aborted one."""
        self._look_up()
        return self.scheduler.timesteps is not self.schedule

    def is_at_start(self, timestep: torch.Tensor | None) -> bool:
        """Whether a call can be the first of a generation."""
        begin = getattr(self.scheduler, "begin_index", None) or 0
        return timestep is not None and _is_near(timestep, self.scale, float(self.scheduler.timesteps[begin]))

    def tick(self, name: str | None, timestep: torch.Tensor | None, latents: torch.Tensor) -> Tick:
        """Place a call; the arguments are `TimestepClock.tick`'s.

        Raises:
            NotPlaced: If the timestep is not the schedule's.
            RuntimeError: If somebody has set the scheduler's timesteps anew in the middle of the loop.
        """
        self._look_up()
        if self._is_broken_into(name, timestep):
            # Two loops have stepped this schedule: it is of no use for either.
            self.spoilt = self.scheduler.timesteps
            raise RuntimeError(SET_ANEW)
        source = _schedule_of(timestep)
        # A loop takes its timesteps from one tensor: another tensor is another loop.
        known = source is not None and self.source is not None
        same_loop = known and _is_one(source, self.source)
        renewed = self.scheduler.timesteps is not self.schedule and not self._goes_on(name, timestep, same_loop)
        renewed = renewed or (known and not same_loop)
        if renewed:
            self.reset()
            self.values = self.scheduler.timesteps.tolist()
        self.schedule, self.source = self.scheduler.timesteps, source
        position = self._place(timestep)
        new_generation = renewed or position < self.current
        if new_generation:
            self.first = 0 if self.takes_turns else position
        if new_generation or position != self.current:
            self.current = position
            self.calls.clear()
        steps = len(self.values) - self.first
        first = 0 if name is None else name
        return Tick(_branch(self.calls, name, first), position - self.first, steps, new_generation)

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

    def _place(self, timestep: torch.Tensor | None) -> int:
        placed = not (self.lost or self._is_unset() or self._is_of_another_schedule())
        position = self._position(timestep) if placed else None
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
        return self.source is not None and self.source.tolist() != self.values

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
        if _schedule_of(timestep) is not None:
            return timestep.storage_offset()
        places = [i for i in range(len(self.values)) if self._is_at(timestep, i)]
        if not places:
            return None
        value = _number(timestep) * self.scale
        return min(places, key=lambda i: (abs(self.values[i] - value), i < start, i))

    def _is_at(self, timestep: torch.Tensor | None, position: int) -> bool:
        """Whether the call's timestep is the schedule's at a place."""
        if _schedule_of(timestep) is not None:
            return timestep.storage_offset() == position
        return timestep is not None and _is_near(timestep, self.scale, self.values[position])


SET_ANEW = (
    "The scheduler's timesteps were set anew in the middle of a generation, by another thread or task: a pipeline "
    "serves one generation at a time, so run them one after the other (under a lock), or give each thread a pipeline "
    "of its own. toca.reset(target) forgets this one."
)


def _branch(calls: dict[str | None, int], name: str | None, first: Hashable) -> Hashable:
    """The branch of one more call of this name in its step: `first`, or where there were others their number."""
    before = calls.get(name, 0)
    calls[name] = before + 1
    if not before:
        return first
    return before if name is None else (name, before)


def _number(timestep: Any) -> float | None:
    """The timestep of a call, read back from its device. Where tokens have timesteps of their own, those of a given
    first frame are at 0."""
    if timestep is None:
        return None
    return float(timestep.max()) if isinstance(timestep, torch.Tensor) else float(timestep)


def _is_near(timestep: Any, scale: float, value: float) -> bool:
    """Whether a call's timestep is this one of a schedule, as exactly as its dtype can say."""
    dtype = timestep.dtype if isinstance(timestep, torch.Tensor) else torch.float64
    # Some pipelines cut the schedule's fractions off.
    tolerance = max(1e-3, 2 * torch.finfo(dtype).eps * abs(value)) if dtype.is_floating_point else 1.0
    return abs(_number(timestep) * scale - value) <= tolerance


def _same_latents(mine: torch.Tensor, others: torch.Tensor | None) -> bool:
    """Whether two calls are given the same latents; the one may have them twice, for two branches in a batch."""
    if others is None or mine.shape[1:] != others.shape[1:]:
        return False
    return mine is others or torch.equal(mine[:1], others[:1])


def _schedule_of(timestep: Any) -> torch.Tensor | None:
    """The tensor that a timestep is one number of, as it is in the loop of most pipelines; so no device is waited
    for. `None` for a tensor by itself."""
    if not isinstance(timestep, torch.Tensor) or (timestep.ndim and timestep.stride(0)):
        return None
    storage = timestep.untyped_storage()
    if storage.nbytes() <= timestep.element_size():
        return None
    return timestep.new_empty(0).set_(storage)


def _is_one(mine: torch.Tensor, others: torch.Tensor) -> bool:
    """Whether two tensors have one storage."""
    return mine.untyped_storage().data_ptr() == others.untyped_storage().data_ptr()


def make_clock(
    pipeline: Any, num_inference_steps: int | None, takes_turns: bool, timestep_scale: float = 1.0
) -> TimestepClock | SchedulerClock:
    """The clock of a pipeline that has a scheduler, else one that goes by the calls' timesteps."""
    if getattr(pipeline, "scheduler", None) is not None:
        return SchedulerClock(pipeline, takes_turns, timestep_scale)
    return TimestepClock(num_inference_steps, timestep_scale)
