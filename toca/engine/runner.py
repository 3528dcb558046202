"""The passes of a call: settled before block 0, run one by one, put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..memory.algebra import unpair
from ..plan.passes import MODULATED, by_the_model, replayed, step_pass, within
from .branches import Branches
from .call import Call
from .decisions import Decisions
from .forms import Forms
from .gatekeeper import Gatekeeper
from .guidance import Guidance
from .job import Job, sample_of
from .probe import Left, Probe
from .script import Script
from .told_once import Warnings
from .unplaced import NotReached


class Runner:
    """Runs calls as their plan says.

    Args:
        decisions (`Decisions`): The handles of the sites and blocks.
        guidance (`Guidance`): Of the transformer.
        branches (`Branches`): Of the generation.
        warn (`Warnings`): Tells the user something.

    Attributes:
        script (`Script` or `None`): What is known of the generation beforehand.
        forms (`Forms`): Of the outputs of calls, so that some can do without the model.
    """

    def __init__(self, decisions: Decisions, guidance: Guidance, branches: Branches, warn: Warnings):
        self.decisions, self.guidance, self.branches, self.warn = decisions, guidance, branches, warn
        self.script: Script | None = None
        self.forms = Forms()

    def settle(self, call: Call) -> None:
        """Settle what every part of the batch does in a call: its jobs."""
        known = None if self.script is None else self.script.output_of(call.tick)
        if known is not None:
            call.jobs = [Job(call.memory.parts[0], replayed(call.plan), output=known, holds=True)]
            return
        self.decisions.whole_norms = call.spec.modulates_by_token(call.arguments, call.key.shape)
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
            if not job.undecided:
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
        return [Job(call.memory.parts[0], step_pass(plan, step, lost or None, call.compiled), computed=lost)]

    def _gatekeeper(self, call: Call) -> Gatekeeper:
        return Gatekeeper(call, self.warn, self.decisions.block_span)

    def _group_tokens(self, call: Call, job: Job) -> None:
        """Before the first choice of tokens: find out what it depends on, once a generation."""
        plan, part = call.plan, job.part
        if plan.selection is None or not plan.partial_sites or part.groups:
            return
        if all(action.kind != "partial" for action in job.run.row):
            return
        grid = part.key.shape.grid
        shared = part.key.around is not None
        if grid is None and (call.spec.grid is not None or shared) and plan.selection.bonus_patch:
            grid = None if call.spec.grid is None or shared else call.spec.grid(call.arguments)
            if grid is None:
                self.warn("grid", "The positions of the image tokens form no grid: the spatial bonus is off.")
        if plan.gate is None and plan.selection.shared_cfg:
            part.paired = self.guidance.is_paired(call.latents)
        part.group_tokens(plan, grid)

    def begin(self, call: Call, job: Job) -> dict[str, Any] | None:
        """Freeze a job's decision; the arguments of the call that runs it, `None` for the call's own."""
        call.job = job
        if not job.run.outside:
            if self.forms.of(call.arguments) is not None:
                return None
            job.run = by_the_model(job.run)
        self.decisions.freeze(call.plan, job, call.step, call.compiled)
        if job.undecided:
            self._probe(call, job)
        return None if job.part.rows is None else call.arguments_of(job)

    def filled(self, call: Call, given: Mapping[str, Any]) -> Any:
        """What takes the place of the model's run in the pass that is under way; `None` where the model runs.

        Args:
            call (`Call`): The call.
            given (`Mapping[str, Any]`): The arguments that the model is given, by name.
        """
        job = call.job
        if job is None or job.run.outside or job.filled is not None:
            return None
        form = self.forms.of(given)
        if form is None:
            return None
        job.filled = self._finish(call, job, None)
        return form.around(job.filled, given)

    def _probe(self, call: Call, job: Job) -> None:
        """Have the gate asked about a job in its pass."""
        gate = call.plan.gate
        assert gate is not None and gate.probe is not None, "the gate probes"
        layers, parts = gate.probe, job.part.images(gate.per_sample) > 1
        probe = Probe(call.plan, self.decisions.blocks, layers, parts)
        probe.watch(lambda left: self._decide(call, job, layers, left))

    @torch.compiler.disable
    def _decide(self, call: Call, job: Job, layers: int, left: Left) -> bool:
        """Ask the gate about a job whose pass is under way, and freeze what it says for the blocks that follow. Where
        images differ, which returns `False`, none of these runs."""
        plan, look = call.plan, job.run
        self.decisions.note_input(job)
        if look.probes_input and MODULATED not in job.notes:
            # The first attention was not called; it is seen when the pass has ended.
            return False
        jobs = self._gatekeeper(call).ask(job, left)
        job.undecided = False
        if len(jobs) > 1:
            job.parted = jobs
            return False
        call.record.add_pass(within(look), job.part)
        job.run, job.computed = by_the_model(jobs[0].run), jobs[0].computed
        self._group_tokens(call, job)
        self.decisions.freeze(plan, job, call.step, call.compiled, after=layers)
        return True

    def complete(self, call: Call, output: Any) -> torch.Tensor:
        """Run a call's other passes, the first of which has run and returned `output`; the output for all rows."""
        todo, done, samples = list(call.jobs), [], []
        while todo:
            job = todo.pop(0)
            if output is None:
                output = call.transformer.forward(**self.begin(call, job) or call.own_arguments())
            if job.parted:
                self._close_look(call, job)
                todo = job.parted + todo
            else:
                samples.append(self._sample(call, job, output))
                done.append(job)
            output = None
        call.jobs, call.memory.parts = done, [job.part for job in done]
        # A call whose output was known has nothing to go on from, unless what came before it is still held.
        known = call.jobs[0].output is not None and not call.jobs[0].holds
        call.memory.last_step = None if known else call.step
        sample = self._joined(call, samples)
        if self.script is not None:
            self.script.note(call.tick, call.latents, sample)
        return sample

    def _close_look(self, call: Call, job: Job) -> None:
        """A pass has run that ended with its gate's decision."""
        call.record.add_pass(job.run, job.part)
        self.decisions.check_reached(call.plan, job)
        for each in job.parted:
            self._group_tokens(call, each)

    def _sample(self, call: Call, job: Job, output: Any) -> torch.Tensor:
        """What a pass has made."""
        if not job.run.outside:
            if job.filled is None:
                # Somebody has put a `forward` of his own in the place of ours since.
                raise NotReached
            return job.filled
        return self._finish(call, job, sample_of(output))

    def _finish(self, call: Call, job: Job, sample: torch.Tensor | None) -> torch.Tensor:
        """A pass has run, or none was needed: note it, put what fills the model's output in its place, show it to the
        gate."""
        plan, part = call.plan, job.part
        call.record.add(plan, call.tick, job)
        if job.output is not None:
            return job.output
        if job.run.outside:
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
