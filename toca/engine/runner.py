"""The passes of a call: settled before block 0, run one by one, put together."""

from __future__ import annotations

from typing import Any

import torch

from ..memory.algebra import unpair
from ..plan.passes import step_pass
from .branches import Branches
from .call import Call
from .decisions import Decisions
from .gatekeeper import Gatekeeper
from .guidance import Guidance
from .job import Job, sample_of
from .told_once import Warnings


class Runner:
    """Runs calls as their plan says.

    Args:
        decisions (`Decisions`): The handles of the sites and blocks.
        guidance (`Guidance`): Of the transformer.
        branches (`Branches`): Of the generation.
        warn (`Warnings`): Tells the user something.
    """

    def __init__(self, decisions: Decisions, guidance: Guidance, branches: Branches, warn: Warnings):
        self.decisions, self.guidance, self.branches, self.warn = decisions, guidance, branches, warn

    def settle(self, call: Call) -> None:
        """Settle what every part of the batch does in a call: its jobs."""
        self.decisions.whole_norms = call.spec.modulates_by_token(call.arguments, call.batch)
        lost = self._has_lost_its_way(call)
        self._unpair(call)
        lost = lost or self._cannot_drop(call)
        replay = self.guidance.replay(call)
        if replay is not None:
            call.jobs = [replay]
            return
        call.memory.last_step = None
        if not call.plan.is_guided(call.step) and not lost:
            self.guidance.drop(call, self.branches.get("uncond"))
        call.jobs = self._jobs(call, lost)
        for job in call.jobs:
            self._group_tokens(call, job)

    def _has_lost_its_way(self, call: Call) -> bool:
        """A branch that missed a step, or starts late, has nothing fit to reuse: it computes and measures all."""
        last = call.memory.last_step
        return call.step > 0 and (last is None or last != call.step - 1)

    def _unpair(self, call: Call) -> None:
        memory, gate = call.memory, call.plan.gate
        if call.step == 1 and memory.paired and gate is not None and not self.guidance.is_paired(call.latents):
            # Two images that began with the same noise looked like the two branches of one.
            memory.paired = False
            for part in memory.parts:
                unpair(part, gate.per_sample and not memory.whole)

    def _cannot_drop(self, call: Call) -> bool:
        """Whether tokens were to be dropped before the first block, and cannot be in this call."""
        if not call.plan.drops(call.plan.table[call.step]):
            return False
        if any(call.arguments.get(name) is not None for name in call.spec.added):
            self.warn("added", "Tokens cannot be dropped where a ControlNet adds to all of them: the step is full.")
            return True
        if self.decisions.whole_norms:
            self.warn("modulated", "Tokens cannot be dropped where each has a timestep of its own: the step is full.")
            return True
        return False

    def _jobs(self, call: Call, lost: bool) -> list[Job]:
        plan, step = call.plan, call.step
        if plan.gate is not None:
            return self._gatekeeper(call).decide(lost)
        everything = lost or (call.compiled and plan.table[step] == plan.full_row)
        return [Job(call.memory.parts[0], step_pass(plan, step, lost or None, everything), computed=lost)]

    def _gatekeeper(self, call: Call) -> Gatekeeper:
        return Gatekeeper(call, self.warn, lambda job: self._look(call, job), self.decisions.block_span)

    def _group_tokens(self, call: Call, job: Job) -> None:
        """Before the first choice of tokens: find out what it depends on, once a generation."""
        plan, part = call.plan, job.part
        choosing = any(action.kind == "partial" for action in job.run.row)
        if plan.selection is None or not plan.partial_sites or part.groups or not choosing:
            return
        grid = part.key.shape.grid
        if grid is None and call.spec.grid is not None and plan.selection.bonus_patch:
            grid = call.spec.grid(call.arguments)
            if grid is None:
                self.warn("grid", "The positions of the image tokens form no grid: the spatial bonus is off.")
        if plan.gate is None and plan.selection.shared_cfg:
            part.paired = self.guidance.is_paired(call.latents)
        part.group_tokens(plan, grid)

    def begin(self, call: Call, job: Job) -> dict[str, Any] | None:
        """Freeze a job's decision; the arguments of the call that runs it, `None` for the call's own."""
        self.decisions.freeze(call.plan, job, call.step, call.compiled)
        return None if job.part.rows is None else call.arguments_of(job)

    def complete(self, call: Call, output: Any) -> torch.Tensor:
        """Run a call's other passes, the first of which has run and returned `output`; the output for all rows."""
        samples = [self._finish(call, call.jobs[0], sample_of(output))]
        for job in call.jobs[1:]:
            arguments = self.begin(call, job) or call.own_arguments()
            samples.append(self._finish(call, job, sample_of(call.transformer.forward(**arguments))))
        # A call whose output was known has nothing to go on from.
        call.memory.last_step = None if call.jobs[0].output is not None else call.step
        return self._joined(call, samples)

    def _look(self, call: Call, job: Job) -> None:
        """Run a job that only looks."""
        self.decisions.freeze(call.plan, job, call.step, call.compiled)
        call.record.add_pass(job)
        call.transformer.forward(**call.arguments_of(job))
        self.decisions.note_input(job)
        self.decisions.check_reached(call.plan, job)

    def _finish(self, call: Call, job: Job, sample: torch.Tensor) -> torch.Tensor:
        """A pass has run: note it, put what fills the model's output in its place, show it to the gate."""
        plan, part = call.plan, job.part
        call.record.add(plan, call.tick, job)
        if job.output is not None:
            return job.output
        self.decisions.note_input(job)
        self.decisions.check_reached(plan, job)
        sample = self.decisions.finish(plan, job, call.step, call.latents_of(job), sample)
        if job.run.observes and plan.selection is not None:
            layers, shape = plan.layout.layers, part.key.shape
            leaving = self.decisions.block_span.image_of(job.notes[layers], layers - 1, shape)
            part.labels = plan.selection.observe(plan.layout, part.key.shape, leaving)
        if job.observation is not None:
            self._gatekeeper(call).observe(job, sample)
        return sample

    def _joined(self, call: Call, samples: list[torch.Tensor]) -> torch.Tensor:
        """The output for the whole call, from those of its parts."""
        parts = [job.part for job in call.jobs]
        if len(samples) == 1 and (parts[0].rows is None or call.jobs[0].output is not None):
            return samples[0]
        joined = samples[0].new_empty(call.batch, *samples[0].shape[1:])
        for part, sample in zip(parts, samples, strict=True):
            rows = torch.arange(call.batch, device=sample.device) if part.rows is None else part.rows
            joined.index_copy_(0, rows, sample)
            if not part.guided:
                # Both branches get the same, so that guidance changes nothing.
                joined.index_copy_(0, (rows + call.batch // 2) % call.batch, sample)
        return joined
