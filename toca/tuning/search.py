"""One search, which answers every budget: from a pipeline and some prompts to a front of plans."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..methods import NoCache
from ..plan import Plan
from ..plan.front import Front
from .candidates import Graph
from .correction import corrected, first_runs
from .judging import Judge
from .kinds import ROUNDS, StepTimes, time_kinds
from .labels import Draft, Label, plan_of, usable
from .ladder import Ladder
from .notes import Notes
from .promising import calls, promising
from .prospect import Paths, Prospect
from .refinement import WORST, Trials, log_error
from .refusals import check_enough_steps, check_one_call_a_step, check_reproducible, check_whole_schedule
from .rehearsal import FullRun, Rehearsal

FASTEST, SLOWEST = 5.0, 1.15
"""The speeds between which plans are looked for, by their full steps."""
STARTS, TRIES = 4, 8
"""Drafts that are run for each number of full steps, and moves beyond them."""
SHORTER = 0.75
"""Of the steps: a schedule of fewer steps of which plans are looked for too."""
APART = 1.08
"""How many times as many full steps the next number of them has, at least: the clock hardly tells them apart."""
ALIKE = 1.04
"""Times of plans that differ by less are one, as far as the clock can tell; of single steps it tells less
(`promising.AS_FAST`)."""

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
        began, runs = time.monotonic(), (self.rehearsal, self.held_out)
        self.notes.spending = lambda: {
            "model_calls": float(sum(run.calls for run in runs)),
            "seconds": time.monotonic() - began,
        }
        self.progress(0.0, "the full run")
        full = self.rehearsal.full(self.num_inference_steps)
        if self.num_inference_steps is not None:
            check_one_call_a_step(self.rehearsal.pipe.scheduler, self.num_inference_steps, full.timesteps)
        check_enough_steps(full.steps)
        again = self.rehearsal.full(full.steps)
        check_one_call_a_step(self.rehearsal.pipe.scheduler, full.steps, again.timesteps)
        check_whole_schedule(full.steps, again.steps)
        check_reproducible(full.end, again.end)
        self.labels = usable(self.rehearsal.layout, full.timesteps)
        self.expected = self._expected(full.steps)
        self.times = self._time(full)
        self.labels = self._promising(full)
        found = self._candidates(full, full.end, self.labels, STARTS, TRIES)
        fewer = max(2, round(SHORTER * full.steps))
        if fewer < full.steps:
            # What fills the output is measured without a run of the model: enough to see whether fewer steps pay.
            quick = tuple(label for label in self.labels if label.scope == "output")
            found += self._candidates(self.rehearsal.full(fewer), full.end, quick, 1, 0)

        def made_with() -> dict[str, Any]:
            spent = self.notes.spent
            return {
                **self.made_with,
                "model_calls": round(spent["model_calls"]),
                "seconds": round(spent["seconds"], 1),
            }

        plans = [candidate.plan for candidate in undominated(found)]
        front = self._judge(full.steps).front(plans, self._seconds(full.steps, 0.0), list(self.schedules), made_with)
        self.notes.write()
        self.progress(1.0, "done")
        return front

    def _judge(self, steps: int) -> Judge:
        return Judge(self.rehearsal, self.held_out, steps, self.notes, self.tell)

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
        # Up with half of the moves, and down with all.
        runs = sum(_counts(steps)) * (2 * STARTS + 1.5 * TRIES) + calls(len(self.labels), steps)
        clock = (ROUNDS + 1) * len(self.labels) * steps / 2 / len(self.rehearsal.prompts)
        return clock + graph + runs + self._judge(steps).calls(2 * len(_counts(steps)))

    def _time(self, full: FullRun) -> dict[str, StepTimes]:
        """Seconds of a full step and of one filled by each label, of one sample."""
        every_second = tuple(range(0, full.steps, 2))
        draft = Draft(every_second, (0,) * len(every_second))
        layout = self.rehearsal.layout
        plans = {label.name: plan_of(draft, [label], layout, full.timesteps) for label in self.labels}

        def run(plan: Plan) -> list[float]:
            self.tell("the clock of each kind of step", len(every_second) / len(self.rehearsal.prompts))
            return self.rehearsal.step_seconds(plan)

        def measure() -> dict[str, list[float]]:
            return {name: [t.full, t.filled, t.spread, t.start] for name, t in time_kinds(run, plans).items()}

        return {name: StepTimes(*times) for name, times in self.notes.get("clock", measure).items()}

    def _promising(self, full: FullRun) -> tuple[Label, ...]:
        trials = Trials(self.rehearsal, full, full.end, self.labels, self.notes)
        return promising(trials, [self.times[label.name].filled for label in self.labels], self._tell_run)

    def _tell_run(self, what: str, full_steps: int) -> None:
        self.tell(f"{what} with {full_steps} full steps", full_steps)

    def _candidates(
        self, full: FullRun, end: torch.Tensor, labels: Sequence[Label], starts: int, tries: int
    ) -> list[Candidate]:
        """Plans of as many steps as a full run has, for all budgets; the full run too."""
        self.schedules.add(full.timesteps)
        filled = [self.times[label.name].filled for label in labels]
        graph = Graph(self.rehearsal, full, labels, self.full_step, filled, self.notes, self.tell)
        trials = Trials(self.rehearsal, full, end, labels, self.notes)

        edges = graph.edges()
        first = first_runs(edges, trials, self.full_step, self._tell_run)

        def learn(losses: Mapping[Draft, float], paths: Paths | None) -> Prospect:
            right = corrected(edges, {**first, **losses}, full.steps, labels)
            return Prospect.of(right, labels, full.steps, self.full_step, filled, paths)

        ran = Ladder(trials, learn, starts, tries, self._tell_run).climb(_counts(full.steps))
        uncached = Candidate(self._uncached(full), self._seconds(full.steps, 0.0), log_error(full.end, end))
        kept = [self._candidate(trials, draft, loss) for draft, loss in ran.items() if loss < WORST]
        return [uncached, *kept]

    def _candidate(self, trials: Trials, draft: Draft, loss: float) -> Candidate:
        filled = draft.filled(trials.full.steps).values()
        seconds = sum(self.times[trials.labels[number].name].filled for number in filled)
        return Candidate(trials.plan(draft), self._seconds(len(draft.full), seconds), loss)

    def _uncached(self, full: FullRun) -> Plan:
        return NoCache().plan_layout(self.rehearsal.layout, full.steps)

    def _seconds(self, full_steps: int, filled: float) -> float:
        return self.start + full_steps * self.full_step + filled


def _counts(steps: int) -> list[int]:
    """The numbers of full steps of plans for `steps` steps, no nearer to each other than `APART`."""
    counts, most = [max(1, round(steps / FASTEST))], max(1, int(steps / SLOWEST))
    while counts[-1] < most:
        counts.append(min(most, max(counts[-1] + 1, math.ceil(counts[-1] * APART))))
    return counts


def undominated(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that nothing faster is as good as, from fast to slow; of those that are as fast as each other to within
    `ALIKE` the best."""
    kept: list[Candidate] = []
    since = 0.0
    for candidate in sorted(candidates, key=lambda c: (c.seconds, c.loss)):
        if kept and candidate.loss >= kept[-1].loss:
            continue
        # As fast as the first of its like, and not as the last: else one would make room for the next, on and on.
        if len(kept) > 1 and candidate.seconds < since * ALIKE:
            kept.pop()
        else:
            since = candidate.seconds
        kept.append(candidate)
    return kept
