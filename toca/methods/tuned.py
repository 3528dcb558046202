"""Tuned: the plan that a search found on the model itself for a budget, out of a front (`toca.tune`)."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from ..axes.actions import COMPUTE
from ..axes.sampling import Sampling
from ..checks import check
from ..models import Layout, Site
from ..models.fingerprint import fingerprint
from ..plan import Plan
from ..plan.bounds import Budget
from ..plan.front import Front
from ..plan.origin import Decibels
from ..plan.schedulers import SchedulerMark
from ..registry import register
from .base import Method


@functools.lru_cache(maxsize=8)
def _read(path: str, changed: int, size: int) -> Front:
    """The front in a file, read once for each state of the file: presets are made anew whenever they are listed."""
    return Front.load(path)


@register
@dataclass(frozen=True)
class Tuned(Method):
    """Do what a search found best on this model for a budget.

    A **front** holds plans from slow and good to fast and less good, searched and measured on the model; **when** a
    step computes, **which** blocks or tokens it leaves out and **how** these are filled stand in the plan that meets
    the budget. A front belongs to one model, one scheduler and the numbers of steps that its plans have, and is
    refused for any other.

    Args:
        front (`str`, *optional*): Path of the file that `toca tune` wrote, read once, when the method is made. Without
            one there is no plan.
        speedup (`float`, *optional*, defaults to 2.0): How many times as fast as the full run, at least; the plan of
            the highest quality is taken.
        min_psnr (`float`, *optional*): Quality in decibels, at least. Without a `speedup` the fastest plan is taken.

    Raises:
        ValueError: If there is neither a `speedup` nor a `min_psnr`, or one is out of range, if the file cannot be
            used.
    """

    front: str | None = None
    speedup: Budget | None = 2.0
    min_psnr: Decibels | None = None

    name: ClassVar[str] = "tuned"
    files: ClassVar[tuple[str, ...]] = ("front",)
    needs: ClassVar[str] = "a front of the model, the scheduler and the steps (`toca tune`)"

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.speedup is not None or self.min_psnr is not None
        check(given, "speedup", self.speedup, "must be a number where `min_psnr` is none")
        if self.front is not None:
            _ = self.found  # a file that cannot be used is refused here, and not when a pipeline runs

    @property
    def _bounds(self) -> dict[str, Any]:
        return {"speedup": self.speedup, "min_psnr": self.min_psnr}

    @cached_property
    def found(self) -> Front:
        """The front that the file holds. Raises `ValueError` if there is none."""
        if self.front is None:
            raise ValueError(
                "tuned needs a front of the model: make one with `toca tune` and give its path as `front`."
            )
        try:
            state = os.stat(self.front)
        except (OSError, ValueError):
            return Front.load(self.front)
        return _read(self.front, state.st_mtime_ns, state.st_size)

    @property
    def num_inference_steps(self) -> int | None:
        """The number of steps in which the budget is met best."""
        return None if self.front is None else self.found.at(**self._bounds).num_inference_steps

    def _plan_of(self, steps: int) -> Plan:
        """The plan of so many steps. Raises `ValueError` if none of them meets the budget; it names another number of
        steps of which one does."""
        try:
            return self.found.plan(**self._bounds, num_inference_steps=steps)
        except ValueError as error:
            raise ValueError(f"{error} Sampled in {self.num_inference_steps} steps one does.") from error

    @property
    def reads_timesteps(self) -> bool:  # type: ignore[override]
        return self.front is not None

    @property
    def axes(self) -> tuple[str, str, str]:
        return "plan", "searched", "searched"

    def check_fits(self, sampling: Sampling) -> None:
        super().check_fits(sampling)
        difference = self.found.model.difference(fingerprint(sampling.layout))
        if difference:
            raise ValueError(f"The front {self.front!r} was made {difference}: run `toca tune` on this model.")
        steps, asked = self.found.steps, sampling.num_inference_steps
        if asked not in steps:
            raise ValueError(
                f"The front {self.front!r} has plans of {' or '.join(map(str, steps))} steps, and not of {asked}: "
                f"sample in so many, or run `toca tune` with {asked} steps."
            )

    def check_scheduler(self, scheduler: Any) -> None:
        difference = "" if self.front is None else self.found.scheduler.difference(SchedulerMark.of(scheduler))
        if difference:
            raise ValueError(
                f"The front {self.front!r} was made with {difference}: sample with that scheduler, or run `toca tune` "
                "with this one."
            )

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        plan = self._plan_of(sampling.num_inference_steps)
        return plan[step, site.layer, site.module] == COMPUTE

    def plan_layout(self, layout: Layout, num_inference_steps: int, timesteps: tuple[float, ...] = ()) -> Plan:
        sampling = Sampling(layout, num_inference_steps, timesteps)
        self.check_fits(sampling)
        plan = self._plan_of(sampling.num_inference_steps)
        assert plan.origin is not None, "plans of a front say where they are from"
        plan.origin.check_timesteps(timesteps)
        # The model may compute in another precision than the one that was tuned.
        return replace(plan, method=self.label, layout=layout)
