"""What the plans of a search do, by the clock and to prompts that it never saw: the front."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..files.versions import version
from ..methods import NoCache
from ..plan import Plan
from ..plan.digest import digest_of
from ..plan.front import Entry, Fewer, Front, Searched
from ..plan.schedulers import SchedulerMark
from .kinds import ROUNDS
from .notes import Notes
from .quality import decibels, interval
from .rehearsal import Rehearsal
from .shares import speedups
from .turns import take_turns

FEWER = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.33, 0.25)
"""Of the steps: how many the full model takes where it stands beside the plans."""
PACKAGES = ("toca", "torch", "diffusers")


@dataclass
class Judge:
    """Judges plans against the full run.

    Args:
        rehearsal (`Rehearsal`): The pipeline, with the prompts that were searched on: one of them is timed.
        held_out (`Rehearsal`): The same with others, that quality is told by.
        steps (`int`): Of the full run.
        notes (`Notes`): What has been measured before.
        tell (`Callable[[str, float], None]`): Is told of each run, and how many calls of the model it takes, of as
            many samples as are searched on.
    """

    rehearsal: Rehearsal
    held_out: Rehearsal
    steps: int
    notes: Notes
    tell: Callable[[str, float], None]

    def front(
        self,
        plans: Sequence[Plan],
        full_seconds: float,
        schedules: Sequence[tuple[float, ...]],
        made_with: Callable[[], Mapping[str, Any]],
    ) -> Front:
        """The front of some plans.

        Args:
            plans (`Sequence[Plan]`): The plans.
            full_seconds (`float`): Of the full run's denoising loop.
            schedules (`Sequence[tuple[float, ...]]`): The timesteps, for each number of steps that they have.
            made_with (`Callable`): What the front is to say of how it was made; asked for at the end.
        """
        whole = self._uncached(self.steps)
        shorter = [self._uncached(count) for count in self._counts()]
        timed = [whole, *plans, *shorter]
        told = self._speedups(timed)
        reference = self._pictures(whole)[0]
        seen = [self._seen(plan, reference) for plan in plans]
        beside = [self._seen(plan, reference) for plan in shorter]
        fewer = told[len(plans) + 1 :]
        known = {tuple(each["timesteps"]) for each in beside} | set(schedules)
        lengths = {plan.num_inference_steps for plan in (*plans, *shorter)}
        return Front(
            scheduler=SchedulerMark.of(self.rehearsal.pipe.scheduler),
            num_inference_steps=self.steps,
            full_seconds=full_seconds,
            # Fewer steps are plans too, so that no budget is answered worse than by them.
            entries=_unbeaten(
                list(map(partial(_entry, full_seconds), [*plans, *shorter], told[1:], [*seen, *beside]))
            ),
            searched=Searched.of(self.rehearsal.prompts, self.rehearsal.seeds, len(self.held_out.prompts)),
            schedules=tuple({len(timesteps): timesteps for timesteps in known if len(timesteps) in lengths}.values()),
            fewer=tuple(
                Fewer(plan.num_inference_steps, speedup, interval(each["psnr"])[0])
                for plan, speedup, each in zip(shorter, fewer, beside, strict=True)
            ),
            made_with=dict(made_with()),
            versions={name: version(name) for name in PACKAGES},
        )

    def calls(self, plans: int) -> float:
        """About as many calls as judging takes, of as many samples as are searched on."""
        runs = (plans + len(FEWER)) * self.steps / 2
        return runs * (len(self.held_out.prompts) + ROUNDS + 1) / len(self.rehearsal.prompts)

    def _counts(self) -> list[int]:
        return sorted({max(1, round(share * self.steps)) for share in FEWER} - {self.steps}, reverse=True)

    def _uncached(self, steps: int) -> Plan:
        return NoCache().plan_layout(self.rehearsal.layout, steps)

    def _speedups(self, plans: Sequence[Plan]) -> list[float]:
        """How much faster the denoising loop of one sample is under each plan than under the first, by the clock, in
        rounds in which all take turns. As they will be shown: who asks for 2.5 is to find what says 2.50, and no clock
        tells it from 2.4999."""

        def loop(plan: Plan) -> list[float]:
            self.tell("the clock of each plan", plan.full_steps / len(self.rehearsal.prompts))
            return self.rehearsal.step_seconds(plan)

        def measure() -> list[float]:
            taken = take_turns({i: partial(loop, plan) for i, plan in enumerate(plans)}, ROUNDS)
            told = speedups(plans, list(zip(*taken.values(), strict=True)))
            return [round(speedup, 2) for speedup in told]

        return self.notes.get(f"speed-ups {' '.join(map(digest_of, plans))}", measure)

    def _pictures(self, plan: Plan) -> tuple[np.ndarray, int, tuple[float, ...]]:
        share = len(self.held_out.prompts) / len(self.rehearsal.prompts)
        self.tell("prompts that were held out", plan.full_steps * share)
        return self.held_out.pictures(plan, plan.num_inference_steps)

    def _seen(self, plan: Plan, reference: np.ndarray) -> dict[str, Any]:
        """What a plan did to each held-out prompt, in decibels, the bytes that were kept for a sample, and when it ran
        the model."""

        def measure() -> dict[str, Any]:
            made, kept, timesteps = self._pictures(plan)
            return {"psnr": decibels(made, reference), "bytes": kept, "timesteps": timesteps}

        return self.notes.get(f"held out {digest_of(plan)}", measure)


def _unbeaten(entries: list[Entry]) -> tuple[Entry, ...]:
    """Those that none is faster and better than."""
    return tuple(
        entry
        for entry in entries
        if not any(other.speedup > entry.speedup and other.psnr > entry.psnr for other in entries)
    )


def _entry(full_seconds: float, plan: Plan, speedup: float, seen: dict[str, Any]) -> Entry:
    psnr, low, high = interval(seen["psnr"])
    return Entry(
        plan=plan,
        seconds=full_seconds / speedup,
        speedup=speedup,
        psnr=psnr,
        psnr_low=low,
        psnr_high=high,
        cache_bytes=seen["bytes"],
        measured=True,
    )
