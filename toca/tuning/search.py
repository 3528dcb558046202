"""One search, which answers every budget: from a pipeline and some prompts to a front of plans."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from statistics import median
from typing import Any

import torch

from ..methods import NoCache
from ..plan import Plan
from ..plan.digest import digest_of
from ..plan.front import Entry, Fewer, Front, Searched
from ..plan.schedulers import SchedulerMark
from .candidates import Graph, drafts
from .kinds import ROUNDS, StepTimes, time_kinds
from .labels import Draft, Label, plan_of, usable
from .notes import Notes
from .quality import decibels, interval
from .refinement import Outlook, Trials, log_error, refine
from .refusals import check_one_call_a_step, check_reproducible
from .rehearsal import FullRun, Rehearsal
from .segments import rows_of
from .turns import take_turns

FASTEST, SLOWEST = 5.0, 1.15
"""The speeds between which plans are looked for, by their full steps."""
STARTS, TRIES = 4, 12
"""For each number of full steps: drafts of the graph that are run, and moves beyond them."""
SHORTER = 0.75
"""Of the steps: a schedule of fewer steps of which plans are looked for too."""
FEWER = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.33, 0.25)
"""Of the steps: how many the full model takes where it stands beside the plans."""
ALIKE = 1.02
"""Times that differ by less are one, as far as the clock can tell."""
PACKAGES = ("toca", "torch", "diffusers")

Progress = Callable[[float, str], None]
"""The share of the search that is done, about, and what is being done."""


@dataclass(frozen=True)
class Candidate:
    """A plan that may stand on the front.

    Args:
        plan (`Plan`): The plan.
        seconds (`float`): Of its denoising loop, as the sum of its steps'.
        loss (`float`): log10 of the mean squared error of its final latents, on the prompts that are searched on.
    """

    plan: Plan
    seconds: float
    loss: float


@dataclass
class Search:
    """A search under way.

    Args:
        rehearsal (`Rehearsal`): The pipeline, with the prompts that are searched on.
        held_out (`Rehearsal`): The same with others, that quality is told by.
        num_inference_steps (`int`, *optional*): Steps of the full run; the pipeline's default unless told.
        notes (`Notes`): What has been measured before.
        progress (`Callable`): Is told how far the search is.
        made_with (`dict`): What the front is to say of how it was made.
    """

    rehearsal: Rehearsal
    held_out: Rehearsal
    num_inference_steps: int | None
    notes: Notes
    progress: Progress
    made_with: dict[str, Any]
    labels: tuple[Label, ...] = ()
    times: dict[str, StepTimes] = field(default_factory=dict)
    schedules: set[tuple[float, ...]] = field(default_factory=set)
    done: float = 0.0
    expected: float = 1.0

    def front(self) -> Front:
        """Search, to the end."""
        began = time.monotonic()
        self.progress(0.0, "the full run")
        full = self.rehearsal.full(self.num_inference_steps)
        check_reproducible(full.end, self.rehearsal.full(self.num_inference_steps).end)
        if self.num_inference_steps is not None:
            check_one_call_a_step(self.rehearsal.pipe.scheduler, self.num_inference_steps, full.timesteps)
        self.labels = usable(self.rehearsal.layout, full.timesteps)
        self.expected = self._expected(full.steps)
        self.times = self._time(full)
        found = self._candidates(full, full.end, self.labels, STARTS, TRIES)
        fewer = max(2, round(SHORTER * full.steps))
        if fewer < full.steps:
            # What fills the output is measured without a run of the model: enough to see whether fewer steps pay.
            quick = tuple(label for label in self.labels if label.scope == "output")
            found += self._candidates(self.rehearsal.full(fewer), full.end, quick, 1, 0)
        front = self._judged(full, _undominated(found), began)
        self.notes.write()
        self.progress(1.0, "done")
        return front

    @property
    def full_step(self) -> float:
        """Seconds of a full step."""
        return min(times.full for times in self.times.values())

    @property
    def start(self) -> float:
        """Seconds that the first step takes beyond a full one."""
        return min(times.start for times in self.times.values())

    def tell(self, what: str, calls: float) -> None:
        """Say what is about to be done, and how many calls of the model, of all samples, it takes."""
        self.progress(min(self.done / self.expected, 0.99), what)
        self.done += calls

    def _expected(self, steps: int) -> float:
        """About as many calls as the search takes, of all samples that are searched on."""
        blocks = sum(label.scope != "output" for label in self.labels)
        kinds = len({label.kind for label in self.labels})
        graph = 4 * blocks * steps + kinds * steps * steps / 4
        runs = sum(_counts(steps)) * (STARTS + TRIES)
        judged = (
            (len(_counts(steps)) + len(FEWER)) * steps / 2 * len(self.held_out.prompts) / len(self.rehearsal.prompts)
        )
        clock = 4 * (len(self.labels) + len(_counts(steps))) * steps / 2 / len(self.rehearsal.prompts)
        return clock + graph + runs + judged

    def _timed(self, full: FullRun, plans: Sequence[Plan]) -> list[float]:
        """How much faster the denoising loop is under each plan than in full steps, by the clock: the median of rounds
        in which all take turns."""
        alone = self._alone()

        def loop(plan: Plan) -> float:
            self.tell("the clock of each plan", plan.full_steps / len(self.rehearsal.prompts))
            return sum(alone.step_seconds(plan))

        def measure() -> list[float]:
            turns = {number: partial(loop, plan) for number, plan in enumerate([self._uncached(full), *plans])}
            uncached, *others = take_turns(turns, ROUNDS).values()
            return [median(u / o for u, o in zip(uncached, other, strict=True)) for other in others]

        return self.notes.get(f"speed-ups {' '.join(map(digest_of, plans))}", measure)

    def _alone(self) -> Rehearsal:
        """The pipeline with one sample: what times are told of."""
        searched = self.rehearsal
        return Rehearsal(searched.pipe, searched.prompts[:1], searched.seeds[:1], searched.call)

    def _time(self, full: FullRun) -> dict[str, StepTimes]:
        """Seconds of a full step and of one filled by each label, of one sample."""
        alone = self._alone()
        every_second = tuple(range(0, full.steps, 2))
        draft = Draft(every_second, (0,) * len(every_second))
        plans = {label.name: plan_of(draft, [label], alone.layout, full.timesteps) for label in self.labels}

        def run(plan: Plan) -> list[float]:
            self.tell("the clock of each kind of step", len(every_second) / len(self.rehearsal.prompts))
            return alone.step_seconds(plan)

        def measure() -> dict[str, list[float]]:
            return {name: [t.full, t.filled, t.spread, t.start] for name, t in time_kinds(run, plans).items()}

        return {name: StepTimes(*times) for name, times in self.notes.get("clock", measure).items()}

    def _candidates(
        self, full: FullRun, end: torch.Tensor, labels: Sequence[Label], starts: int, tries: int
    ) -> list[Candidate]:
        """Plans of as many steps as a full run has, for all budgets; the full run too."""
        self.schedules.add(full.timesteps)
        filled = [self.times[label.name].filled for label in labels]
        graph = Graph(self.rehearsal, full, labels, self.full_step, filled, self.notes, self.tell)
        edges = graph.edges()
        outlook = Outlook(edges)
        trials = Trials(self.rehearsal, full, end, labels, self.notes)
        known = drafts(edges, labels, full.steps, self.full_step)

        def tell(what: str, count: int) -> None:
            self.tell(f"{what} with {count} full steps", count)

        found = [Candidate(self._uncached(full), self._seconds(full.steps, 0.0), log_error(full.end, end))]
        for count in _counts(full.steps):
            first = sorted(known.get(count, ()), key=lambda draft: outlook.of(draft, full.steps))[:starts]
            if first:
                runs = refine(first, trials, outlook, tries, tell)
                found += [self._candidate(full, labels, draft, loss) for draft, loss in runs.items()]
        return found

    def _candidate(self, full: FullRun, labels: Sequence[Label], draft: Draft, loss: float) -> Candidate:
        plan = plan_of(draft, labels, self.rehearsal.layout, full.timesteps, rows_of(draft, labels, full))
        segments = draft.segments(full.steps)
        filled = sum((stop - start - 1) * self.times[labels[n].name].filled for start, stop, n in segments)
        return Candidate(plan, self._seconds(len(draft.full), filled), loss)

    def _uncached(self, full: FullRun) -> Plan:
        return NoCache().plan_layout(self.rehearsal.layout, full.steps)

    def _seconds(self, full_steps: int, filled: float) -> float:
        return self.start + full_steps * self.full_step + filled

    def _judged(self, full: FullRun, candidates: Sequence[Candidate], began: float) -> Front:
        """The front: what each candidate does to the prompts that were held out, and fewer steps beside them."""
        steps = full.steps
        share = len(self.held_out.prompts) / len(self.rehearsal.prompts)
        self.tell("held-out prompts: the full run", steps * share)
        reference, _ = self.held_out.pictures(NoCache(), steps)
        whole = self._seconds(steps, 0.0)

        def judge(plan: Plan) -> dict[str, Any]:
            self.tell("held-out prompts", plan.num_inference_steps / 2 * share)
            made, kept = self.held_out.pictures(plan, plan.num_inference_steps)
            return {"psnr": decibels(made, reference), "bytes": kept}

        speedups = self._timed(full, [candidate.plan for candidate in candidates])
        entries = []
        for candidate, speedup in zip(candidates, speedups, strict=True):
            seen = self.notes.get(f"held out {digest_of(candidate.plan)}", partial(judge, candidate.plan))
            entries.append(_entry(candidate.plan, whole, speedup, seen))
        fewer = []
        for count in sorted({max(1, round(share * steps)) for share in FEWER} - {steps}, reverse=True):
            uncached = NoCache().plan_layout(self.rehearsal.layout, count)
            seen = self.notes.get(f"held out {count} steps", partial(judge, uncached))
            fewer.append(Fewer(count, whole / self._seconds(count, 0.0), interval(seen["psnr"])[0]))
        schedules = {
            timesteps for timesteps in self.schedules if any(len(timesteps) == e.num_inference_steps for e in entries)
        }
        searched = Searched.of(self.rehearsal.prompts, self.rehearsal.seeds, len(self.held_out.prompts))
        took = {"model_calls": round(self.rehearsal.calls + self.held_out.calls), "seconds": time.monotonic() - began}
        return Front(
            scheduler=SchedulerMark.of(self.rehearsal.pipe.scheduler),
            num_inference_steps=steps,
            full_seconds=whole,
            entries=tuple(entries),
            searched=searched,
            schedules=tuple(schedules),
            fewer=tuple(fewer),
            made_with={**self.made_with, **took},
            versions={name: version(name) for name in PACKAGES},
        )


def _counts(steps: int) -> range:
    """The numbers of full steps of plans for `steps` steps."""
    return range(max(1, round(steps / FASTEST)), max(2, int(steps / SLOWEST) + 1))


def _undominated(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that nothing faster is as good as, from fast to slow; of those that are as fast as each other to within
    `ALIKE` the best."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.seconds, c.loss)):
        if kept and candidate.loss >= kept[-1].loss:
            continue
        if len(kept) > 1 and candidate.seconds < kept[-1].seconds * ALIKE:
            kept.pop()
        kept.append(candidate)
    return kept


def _entry(plan: Plan, whole: float, speedup: float, seen: dict[str, Any]) -> Entry:
    psnr, low, high = interval(seen["psnr"])
    return Entry(
        plan=plan,
        seconds=whole / speedup,
        speedup=speedup,
        psnr=psnr,
        psnr_low=low,
        psnr_high=high,
        cache_bytes=seen["bytes"],
        measured=True,
    )
