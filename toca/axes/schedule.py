"""When: which steps of a generation compute every site."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from ..checks import Share, SomeSteps, Steps, check, check_fields

LEAST_FACTOR = 1e-6
"""By which an interval is divided; less would make it longer than any generation."""


@dataclass(frozen=True)
class FullStepSchedule:
    """Full steps at an interval that may adapt to the progress of denoising (ToCa, section 3.4 and appendix).

    With `s` the step index, a step is full if `(s - phase) % tau == 0`; after a full step
    `tau = round(interval / (a + b * s / S))`.

    Args:
        interval (`int`): Nominal interval N between full steps.
        factor (`tuple[float, float]`, defaults to `(1, 0)`): The a and b of the adaptive interval.
        window (`tuple[float, float, int]`, *optional*): `(from, to, tau)`: for floor(from * S) <= s < floor(to * S)
            the interval is tau.
        warmup_steps (`int`, defaults to 1): The first steps of sampling that are always full.
        phase (`int`, defaults to 0): Step index at which the counting starts.
        counts_down (`bool`, defaults to `False`): Whether s runs from S - 1 to 0 in the order of sampling, as in DiT.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    interval: SomeSteps
    factor: tuple[float, float] = (1.0, 0.0)
    window: tuple[Share, Share, SomeSteps] | None = None
    warmup_steps: SomeSteps = 1
    phase: Steps = 0
    counts_down: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        a, b = self.factor
        check(min(a, a + b) >= LEAST_FACTOR, "factor", self.factor, "must be positive from s/S = 0 to 1")

    def full_steps(self, num_inference_steps: int) -> tuple[bool, ...]:
        """Whether each step is full, in the order of sampling; with an interval of 1 every step is."""
        return _full_steps(self, num_inference_steps)

    def remainders(self, num_inference_steps: int) -> tuple[int, ...]:
        """`(s - phase) % tau` of each step, in the order of sampling; 0 where it is full."""
        return _remainders(self, num_inference_steps)

    def interval_after(self, s: int, num_inference_steps: int) -> int:
        """tau after a full step of index s."""
        if self.window is not None:
            start, stop, interval = self.window
            if int(start * num_inference_steps) <= s < int(stop * num_inference_steps):
                return interval
        a, b = self.factor
        return max(1, round(self.interval / (a + b * s / num_inference_steps)))


@cache
def spaced_schedule(interval: int, warmup_steps: int) -> FullStepSchedule:
    """The first steps full, and then every `interval`-th after the last of them."""
    return FullStepSchedule(interval, warmup_steps=warmup_steps, phase=warmup_steps - 1)


@cache
def _full_steps(schedule: FullStepSchedule, num_inference_steps: int) -> tuple[bool, ...]:
    return tuple(remainder == 0 for remainder in _remainders(schedule, num_inference_steps))


@cache
def _remainders(schedule: FullStepSchedule, num_inference_steps: int) -> tuple[int, ...]:
    # Cached, for every cell of a plan asks, and a thousand steps of two hundred sites would take a minute.
    if schedule.interval == 1:
        return (0,) * num_inference_steps
    interval = schedule.interval
    remainders = []
    for position in range(num_inference_steps):
        s = step_index(position, num_inference_steps, schedule.counts_down)
        remainders.append(0 if position < schedule.warmup_steps else (s - schedule.phase) % interval)
        if remainders[-1] == 0:
            interval = schedule.interval_after(s, num_inference_steps)
    return tuple(remainders)


def step_index(position: int, num_inference_steps: int, counts_down: bool) -> int:
    """The paper's step index of the `position`-th step in the order of sampling."""
    return num_inference_steps - 1 - position if counts_down else position
