"""The plans of one transformer: one for each number of steps, and each schedule where timesteps matter."""

from __future__ import annotations

from typing import Any

from ..axes.sampling import other_timestep
from ..methods import Method
from ..models import Layout
from ..plan.table import PlanTable
from .clock import Clock
from .tick import Tick

MAX_PLANS = 8
"""Plans that are held for generations to come; the oldest goes first."""


class Plans:
    """Makes plans, each once.

    Args:
        method (`Method` or `PlanTable`): Makes the plan for a number of steps, or is the plan.
        layout (`Layout`): The model.
    """

    def __init__(self, method: Method | PlanTable, layout: Layout):
        self.method, self.layout = method, layout
        self._made: dict[tuple[int, tuple[float, ...]], PlanTable] = {}
        self._current: PlanTable | None = None

    @property
    def reads_timesteps(self) -> bool:
        """Whether plans depend on the scheduler's timesteps."""
        if isinstance(self.method, PlanTable):
            return bool(self.method.timesteps) or self.method.origin is not None
        fill = self.method.filling()
        return self.method.reads_timesteps or (fill is not None and fill.reads_timesteps)

    def plan_for(self, num_inference_steps: int, timesteps: tuple[float, ...] = ()) -> PlanTable:
        """The plan for a number of steps; made once.

        Raises:
            ValueError: If the method is a plan for another number of steps, or for other timesteps.
        """
        key = num_inference_steps, timesteps
        if key not in self._made:
            self._made[key] = self._make(num_inference_steps, timesteps)
            while len(self._made) > MAX_PLANS:
                del self._made[next(iter(self._made))]
        return self._made[key]

    def plan_at(self, tick: Tick, clock: Clock) -> PlanTable:
        """The plan of the generation that a call is of; when it starts, the method looks at the scheduler."""
        goes_on = self._current is not None and self._current.num_inference_steps == tick.num_inference_steps
        if tick.new_generation or not goes_on:
            # None until all is found well: the next call is refused again.
            self._current = None
            self.check_scheduler(clock.scheduler)
            timesteps = clock.timesteps_of_generation() if self.reads_timesteps else ()
            self._current = self.plan_for(tick.num_inference_steps, timesteps)
        assert self._current is not None, "there is one now"
        return self._current

    def _make(self, num_inference_steps: int, timesteps: tuple[float, ...]) -> PlanTable:
        if isinstance(self.method, PlanTable):
            _check_steps(self.method, num_inference_steps, timesteps)
            return self.method
        return self.method.plan_layout(self.layout, num_inference_steps, timesteps)

    def check_scheduler(self, scheduler: Any) -> None:
        """Have the method, or what a plan was made from, look at the pipeline's scheduler. Raises `ValueError` if it
        was made for another one."""
        made_for = self.method.origin if isinstance(self.method, PlanTable) else self.method
        if scheduler is not None and made_for is not None:
            made_for.check_scheduler(scheduler)


def _check_steps(plan: PlanTable, num_inference_steps: int, timesteps: tuple[float, ...]) -> None:
    """Refuse a generation of another number of steps or, where the plan knows its timesteps, of others."""
    if plan.num_inference_steps != num_inference_steps:
        raise ValueError(
            f"The plan is for {plan.num_inference_steps} steps, but this generation has {num_inference_steps}. "
            f"Generate with num_inference_steps={plan.num_inference_steps}, or make a plan for this number."
        )
    difference = other_timestep(plan.timesteps, timesteps)
    if difference:
        raise ValueError(
            f"The plan is for other timesteps: {difference}. Sample with the scheduler and the size that it was made "
            "with, or make a plan for these."
        )
    if plan.origin is not None:
        plan.origin.check_timesteps(timesteps)
