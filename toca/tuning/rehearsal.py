"""One generation of a stock pipeline, gone through many times with another plan each time.

Whatever the pipeline does between two calls of the model (guidance, several branches, a scheduler of any order) it
does here too: a rehearsal is a call of the pipeline, whose first steps return what they returned before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from ..api import cached, reset, summary
from ..engine.install import engine_of
from ..engine.script import Place, Script
from ..methods import Method, NoCache
from ..models import Layout, describe, known_family
from ..plan import Plan
from .clock import LoopClock
from .generations import quiet
from .passage import share_that_arrives
from .refusals import steps_that_must_be_full, transformer_of
from .scheduler_watch import Ended, SchedulerStep, Snapshot, watched


class PastTheCache(ValueError):
    """Some calls of the model ran in full whatever the plan said, so that the run tells nothing of it."""


@dataclass(frozen=True)
class FullRun:
    """What a generation in full steps leaves.

    Args:
        timesteps (`tuple[float, ...]`): The scheduler's, of each step.
        latents (`tuple[torch.Tensor, ...]`): (B, ...): before each step, and after the last.
        guided (`tuple[torch.Tensor, ...]`): (B, ...): the model's output as the scheduler gets it, in each step.
        snapshots (`tuple[Snapshot, ...]`): The scheduler before each step.
        returned (`dict[Place, torch.Tensor]`): What each call of the model returned.
        shares (`tuple[float | None, ...]`): In each step, how much of the latents, added to all that the model
            returns, is in what the scheduler gets.
    """

    timesteps: tuple[float, ...]
    latents: tuple[torch.Tensor, ...]
    guided: tuple[torch.Tensor, ...]
    snapshots: tuple[Snapshot, ...]
    returned: dict[Place, torch.Tensor]
    shares: tuple[float | None, ...] = ()

    def arriving(self, step: int, sample: torch.Tensor) -> torch.Tensor | None:
        """What arrives at the scheduler of some latents (B, ...) that are added to all that the model returns in a
        step; `None` where that cannot be told."""
        share = self.shares[step] if self.shares else None
        return None if share is None else share * sample

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    @property
    def end(self) -> torch.Tensor:
        """The final latents."""
        return self.latents[-1]

    @property
    def must_be_full(self) -> frozenset[int]:
        """Steps in which a branch of guidance has nothing to go on from."""
        return steps_that_must_be_full(self.returned)


class Followed(Protocol):
    """What goes along with a run."""

    def look(self, step: SchedulerStep) -> None: ...

    def arrived(self, step: int, sample: torch.Tensor, scheduler: Any) -> None: ...


class Rehearsal:
    """A pipeline with prompts, seeds and arguments of its call.

    Args:
        pipe (`DiffusionPipeline`): A stock pipeline with one transformer; no cache is on.
        prompts (`Sequence`): What its call takes first, one for each sample.
        seeds (`Sequence[int]`): Of each sample's noise.
        call (`dict`): Further arguments of its call.

    Attributes:
        calls (`int`): Samples x steps that the model has computed in full, over all rehearsals.
    """

    def __init__(self, pipe: Any, prompts: Sequence[Any], seeds: Sequence[int], call: dict[str, Any]):
        self.pipe, self.prompts, self.seeds, self.call = pipe, list(prompts), list(seeds), dict(call)
        self.transformer = transformer_of(pipe)
        self.layout: Layout = describe(self.transformer, known_family(self.transformer))
        self.calls = 0

    def full(self, num_inference_steps: int | None = None) -> FullRun:
        """Run in full steps, and write down everything."""
        looked: list[SchedulerStep] = []
        snapshots: list[Snapshot] = []
        ends: list[torch.Tensor] = []
        shares: list[float | None] = []
        script, channel_dim = Script(), known_family(self.transformer).channel_dim

        def look(step: SchedulerStep) -> None:
            snapshots.append(step.snapshot())
            looked.append(step)
            returned = [output for place, output in script.returned.items() if place[0] == step.number]
            shares.append(share_that_arrives(script.given, returned, step, channel_dim))
            script.given.clear()

        timesteps = self._run(
            NoCache(), script, look, lambda _, sample: ends.append(sample.detach().clone()), num_inference_steps
        )
        latents = [step.sample.detach().clone() for step in looked[:1]] + ends
        guided = tuple(step.model_output.detach().clone() for step in looked)
        self.calls += len(timesteps) * len(self.prompts)
        return FullRun(timesteps, tuple(latents), guided, tuple(snapshots), script.returned, tuple(shares))

    def end_of(self, plan: Plan, known: FullRun, until: int = 0, follower: Followed | None = None) -> torch.Tensor:
        """The final latents under a plan.

        Args:
            plan (`Plan`): The plan.
            known (`FullRun`): The same generation in full steps.
            until (`int`, defaults to 0): The steps before this one are known; the plan computes them, and needs
                nothing of them later.
            follower (*optional*): Is told each step of the scheduler before it is taken, and each one that the latents
                come to.
        """
        script = Script(known.returned, frozenset(range(until)))
        found: list[torch.Tensor] = []

        def after(number: int, sample: torch.Tensor) -> None:
            _latest(found, sample)
            if follower is not None and number + 1 < known.steps:
                follower.arrived(number + 1, sample, self.pipe.scheduler)

        self._run(plan, script, _pass_by if follower is None else follower.look, after, known.steps)
        self.calls += len(self.prompts) * sum(letter == "F" for letter in plan.steps[until:])
        return found[0]

    def strayed(
        self, plan: Plan, known: FullRun, skipped: frozenset[int], first: int, last: int
    ) -> dict[int, torch.Tensor]:
        """Where a segment takes the latents, for each step that it may end at.

        Args:
            plan (`Plan`): Which fills the steps from `first` on.
            known (`FullRun`): The same generation in full steps.
            skipped (`frozenset[int]`): The steps whose output is known and which leave nothing behind.
            first, last (`int`): The first step that is filled, and the last step that may compute again.

        Returns:
            `dict[int, torch.Tensor]`: For each step from `first + 1` on the latents (B, ...) after it, made with the
            full run's output in it; for the number of steps those at the end.
        """
        after: dict[int, torch.Tensor] = {}
        script = Script(known.returned, skipped)

        def look(step: SchedulerStep) -> None:
            j = step.number
            if j > first:
                taken = step.snapshot()
                after[j] = taken.step(taken.resumed(), known.guided[j], step.sample)
            if j >= last:
                raise Ended

        def end(number: int, sample: torch.Tensor) -> None:
            if number == known.steps - 1:
                after[known.steps] = sample.detach().clone()

        self._run(plan, script, look, end, known.steps)
        self.calls += len(self.prompts) * sum(
            letter == "F" and s not in skipped for s, letter in enumerate(plan.steps[:first])
        )
        return after

    def pictures(
        self, method: Method | Plan, num_inference_steps: int | None = None
    ) -> tuple[np.ndarray, int, tuple[float, ...]]:
        """What the whole pipeline makes, floats (B, ...) from 0 to 1; the bytes kept for a sample; the timesteps."""
        with cached(self.pipe, method), torch.no_grad(), quiet(self.pipe):
            made = self._call(num_inference_steps, output_type="np")[0]
            kept = summary(self.pipe).cache_bytes
            engine = engine_of(self.transformer)
            assert engine is not None, "a cache is on"
            timesteps, steps = engine.clock.timesteps_of_generation(), summary(self.pipe).steps
        self.calls += steps.count("F") * len(self.prompts)
        return np.asarray(made), kept // len(self.prompts), timesteps

    def step_seconds(self, plan: Plan) -> list[float]:
        """Seconds of each step of the denoising loop under a plan, for the first sample by itself. A plan that fills
        nothing is timed as the pipeline is without a cache, for that is what a speed-up is held against."""
        fills = plan.full_steps < plan.num_inference_steps
        on = cached(self.pipe, plan) if fills else contextlib.nullcontext()
        with on, torch.no_grad(), quiet(self.pipe), LoopClock(self.pipe) as clock:
            with watched(self.pipe.scheduler, _pass_by, self._stop_after_last), contextlib.suppress(Ended):
                self._call(plan.num_inference_steps, samples=1)
            seconds = clock.step_seconds
            if fills:
                reset(self.pipe)
        self.calls += plan.full_steps
        return seconds

    def _run(
        self,
        method: Method | Plan,
        script: Script,
        look: Callable[[SchedulerStep], None],
        after: Callable[[int, torch.Tensor], None],
        num_inference_steps: int | None,
    ) -> tuple[float, ...]:
        """Run up to the scheduler's last step; the timesteps. Raises `PastTheCache` if the plan was not followed."""

        def ending(number: int, sample: torch.Tensor) -> None:
            after(number, sample)
            self._stop_after_last(number, sample)

        with cached(self.pipe, method), torch.no_grad(), quiet(self.pipe):
            engine = engine_of(self.transformer)
            assert engine is not None
            engine.follow_script(script)
            with watched(self.pipe.scheduler, look, ending), contextlib.suppress(Ended):
                self._call(num_inference_steps)
            timesteps, past = engine.clock.timesteps_of_generation(), engine.record.bypassed
            reset(self.pipe)
        if past:
            raise PastTheCache(
                f"{past} calls of {type(self.transformer).__name__} ran in full, past the cache, for the reason that "
                "a warning tells: no plan can be tuned for them."
            )
        return timesteps

    def _stop_after_last(self, number: int, sample: torch.Tensor) -> None:
        """End the loop behind its last step: nothing needs to be decoded."""
        engine = engine_of(self.transformer)
        timesteps = self.pipe.scheduler.timesteps if engine is None else engine.clock.timesteps_of_generation()
        if number == len(timesteps) - 1:
            raise Ended

    def _call(self, num_inference_steps: int | None, samples: int | None = None, **others: Any) -> Any:
        """Call the pipeline for all samples, or for the first ones."""
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in self.seeds[:samples]]
        steps = {} if num_inference_steps is None else {"num_inference_steps": num_inference_steps}
        return self.pipe(self.prompts[:samples], generator=generators, **{**self.call, **steps, **others})


def _pass_by(step: SchedulerStep) -> None:
    """Nothing is looked at."""


def _latest(found: list[torch.Tensor], sample: torch.Tensor) -> None:
    found[:] = [sample.detach()]
