"""The books of a generation: what each call did, and what it took."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import torch

from ..axes.actions import Action, step_letter
from ..axes.spans import Span
from ..memory.branch import BranchMemory
from ..memory.part import Part
from ..memory.ram import Traffic
from ..models.shape import CallShape
from ..plan.passes import Pass
from ..plan.table import PlanTable
from .job import Job
from .tick import Tick


@dataclass(frozen=True)
class CallRecord:
    """What a transformer call did for some of its rows, all of them where no gate decides.

    Args:
        step (`int`): Index of the step.
        branch (`Hashable`): The branch of guidance.
        row (`tuple[Action, ...]`): What each site did.
        spans (`tuple[Span, ...]`): Blocks that were left out.
        shape (`CallShape`): Of these rows.
        full_batch (`int`): Rows that would have run without the cache: more where a branch of guidance was dropped.
        images (`tuple[int, ...]` or `None`): Which images of the call these rows are; `None` for all.
    """

    step: int
    branch: Hashable
    row: tuple[Action, ...]
    spans: tuple[Span, ...]
    shape: CallShape
    full_batch: int
    images: tuple[int, ...] | None = None

    @property
    def letter(self) -> str:
        return step_letter(self.row, self.spans)


_numbers = itertools.count()


@dataclass
class GenerationRecord:
    """All calls of one generation of one transformer, the runs that they took, the cache bytes of its branches and
    those of them in the machine's memory, what was moved from there and back, what features are kept in, and calls
    past the cache; the scheduler's timesteps, and a number that grows from record to record.

    A pipeline that runs its scheduler several times in one call has a generation for each run: `call` stands for
    its call, and is `None` where that has come to its end; and `earlier` are the records of the runs before.
    """

    plan: PlanTable | None = None
    calls: list[CallRecord] = field(default_factory=list)
    passes: list[tuple[Pass, CallShape]] = field(default_factory=list)
    cache_bytes: int = 0
    ram_bytes: int = 0
    traffic: Traffic | None = None
    cache_dtype: torch.dtype | None = None
    bypassed: int = 0
    schedule: Any = None
    number: int = field(default_factory=_numbers.__next__)
    call: object | None = None
    earlier: tuple[GenerationRecord, ...] = ()

    def next(self, plan: PlanTable | None, schedule: Any, call: object | None) -> GenerationRecord:
        """The record of the generation that follows; the arguments are its own."""
        goes_on = call is not None and call is self.call and self._is_whole
        earlier = (*self.earlier, self) if goes_on else ()
        return GenerationRecord(plan, schedule=schedule, call=call, earlier=earlier)

    @property
    def _is_whole(self) -> bool:
        """Whether the generation came to its last step: what was given up belongs to nothing that follows."""
        if not self.calls or self.plan is None:
            return bool(self.bypassed)
        return self.calls[-1].step == self.plan.num_inference_steps - 1

    def add(self, plan: PlanTable, tick: Tick, job: Job) -> None:
        """Note a job that has run."""
        part = job.part
        row, spans = (plan.full_row, ()) if job.computed else (plan.table[tick.step], plan.spans[tick.step])
        if job.output is not None:
            row, spans = job.run.row, job.run.spans
        full_batch = (1 if part.guided else 2) * part.key.shape.batch
        self.calls.append(CallRecord(tick.step, tick.branch, row, spans, part.key.whole, full_batch, part.numbers))
        self.add_pass(job.run, job.part)

    def add_pass(self, run: Pass, part: Part) -> None:
        """Note a pass over the rows of a part."""
        self.passes.append((run, part.key.whole))

    @property
    def mark(self) -> tuple[int, int]:
        """How far the books have come, for `take_back`."""
        return len(self.calls), len(self.passes)

    def take_back(self, mark: tuple[int, int]) -> None:
        """Strike out what was noted since."""
        calls, passes = mark
        del self.calls[calls:], self.passes[passes:]

    def release(self, memory: BranchMemory) -> None:
        """Note what a branch held, before it is let go."""
        self.cache_bytes += memory.cache_bytes
        self.ram_bytes += memory.ram_bytes
