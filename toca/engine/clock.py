"""Which step a transformer call belongs to, and to which branch.

Two clocks, because callers differ in what they tell: a pipeline's scheduler knows the step; the calls of a bare
transformer are told apart by their timesteps. A branch is what the pipeline names in `cache_context`, and the position
of the call among the calls of that name, or of no name, in its step.

A call that has no place in the schedule at hand is none of the generation's: it gets no step, and so no memory.
"""

from __future__ import annotations

from typing import Any

from .scheduler_clock import SchedulerClock
from .timestep_clock import TimestepClock
from .timesteps import Reading

Clock = TimestepClock | SchedulerClock


def make_clock(pipeline: Any, num_inference_steps: int | None, takes_turns: bool, reading: Reading) -> Clock:
    """The clock of a pipeline that has a scheduler, else one that goes by the calls' timesteps."""
    if getattr(pipeline, "scheduler", None) is not None:
        return SchedulerClock(pipeline, takes_turns, reading)
    if num_inference_steps is None:
        raise ValueError("Without a scheduler the number of steps is unknown: pass `num_inference_steps`.")
    return TimestepClock(num_inference_steps, reading)
