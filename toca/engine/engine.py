"""The engine of one transformer: has the decision of each call frozen before block 0, and keeps the books.

It knows no model and no method: a plan says what each site does, the sites' handles carry it to the modules.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import weakref
from collections.abc import Hashable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from ..hooks.norm import modulates_by_token
from ..hooks.tracing import is_compiled, refuse_compiled
from ..memory.branch import Branch, CallKey, Memory, SiteState
from ..memory.clustered_tokens import cluster_tokens
from ..models import FamilySpec, describe, walk_blocks
from ..plan import Plan
from ..plan.passes import Job, replayed, sample_of, step_pass, with_sample
from .arguments import narrowed, own_copy, rows_of_call
from .callers import Caller, Ownership
from .clock import NotPlaced, Tick, make_clock
from .condition import Condition
from .connection import Connection
from .decisions import Freezer
from .gatekeeper import Gatekeeper
from .other_caches import refuse_other_cache
from .summary import CallRecord, GenerationRecord
from .unplaced import MISSED, NotReached, Unplaced

logger = logging.getLogger(__name__)

MAX_BRANCHES = 8
"""More unnamed calls than this in one step are no guidance branches: they run in full and are not remembered."""


MAX_PLANS = 8
"""Plans that are held for generations to come; the oldest goes first."""

GUIDERS_NAMES = {"pred_cond": "cond", "pred_uncond": "uncond"}
"""What diffusers' guiders call the branches that pipelines call `cond` and `uncond`."""

_contexts: ContextVar[Mapping[int, str]] = ContextVar("toca_contexts", default=MappingProxyType({}))
"""For each engine the name of the branch that its caller is in; another thread or task has its own."""


@dataclass(eq=False)
class Running:
    """A transformer call that is under way: its memory, its place, its arguments, its passes, and how many calls and
    passes had been recorded before it."""

    plan: Plan
    memory: Memory
    tick: Tick
    call: dict[str, Any]
    jobs: list[Job] = field(default_factory=list)
    recorded: tuple[int, int] = (0, 0)


class Engine:
    """State and decisions of one transformer.

    Args:
        transformer (`nn.Module`): The model.
        spec (`FamilySpec`): Its family.
        method (`Method` or `Plan`): Makes the plan for a number of steps, or is the plan.
        pipeline (`DiffusionPipeline`, *optional*): The pipeline whose scheduler tells the step.
        num_inference_steps (`int`, *optional*): Steps of a generation, for a bare transformer.
        batched_cfg (`bool`, *optional*): Whether the batch's halves are guidance branches of the same samples;
            `None` to find out from the pipeline's calls.
        takes_turns (`bool`, defaults to `False`): Whether other transformers of the pipeline run some of the steps.
    """

    def __init__(
        self,
        transformer: nn.Module,
        spec: FamilySpec,
        method: Any,
        pipeline: Any = None,
        num_inference_steps: int | None = None,
        batched_cfg: bool | None = None,
        takes_turns: bool = False,
    ):
        self.spec, self.method, self.batched_cfg = spec, method, batched_cfg
        self.pipeline = None if pipeline is None else weakref.ref(pipeline)
        self.layout = describe(transformer, spec)
        self.clock = make_clock(pipeline, num_inference_steps, takes_turns, spec.timestep_scale)
        self.ownership = Ownership()
        self.freezer = Freezer(self.layout, spec)
        self.unplaced = Unplaced(transformer, spec)
        self.connection = Connection(spec, self.freezer)
        self.argument_names = tuple(inspect.signature(type(transformer).forward).parameters)[1:]
        self.first_block = next(walk_blocks(transformer, spec))[3]
        self.record = GenerationRecord()
        self._plans: dict[tuple, Plan] = {}
        self._warned: set[str] = set()
        self._running: Running | None = None
        self.branches: dict[Hashable, Memory] = {}
        # What each branch is conditioned on: the caller's own tensors.
        self._conditions: dict[Hashable, Condition] = {}
        self._conditional: tuple[int, torch.Tensor] | None = None
        if num_inference_steps is not None:
            self.plan_for(num_inference_steps)

    @property
    def context(self) -> str | None:
        """The name of the branch that the caller is in."""
        return _contexts.get().get(id(self))

    @contextlib.contextmanager
    def named(self, name: str) -> Iterator[None]:
        """Calls in the `with` block are of the branch of this name."""
        token = _contexts.set({**_contexts.get(), id(self): GUIDERS_NAMES.get(name, name)})
        try:
            yield
        finally:
            _contexts.reset(token)

    @property
    def compiled(self) -> bool:
        """Whether the blocks are compiled now; they may be at any time."""
        return is_compiled(self.first_block)

    def plan_for(self, num_inference_steps: int, timesteps: tuple[float, ...] = ()) -> Plan:
        """The plan for a number of steps; made once.

        Raises:
            ValueError: If the method is a plan for another number of steps.
        """
        key = num_inference_steps, timesteps
        if key not in self._plans:
            self._plans[key] = self._make_plan(num_inference_steps, timesteps)
            while len(self._plans) > MAX_PLANS:
                del self._plans[next(iter(self._plans))]
        return self._plans[key]

    def _make_plan(self, num_inference_steps: int, timesteps: tuple[float, ...]) -> Plan:
        if not isinstance(self.method, Plan):
            return self.method.plan_layout(self.layout, num_inference_steps, timesteps)
        if self.method.num_inference_steps != num_inference_steps:
            raise ValueError(
                f"The plan is for {self.method.num_inference_steps} steps, but this generation has "
                f"{num_inference_steps}. Generate with num_inference_steps={self.method.num_inference_steps}, or make "
                "a plan for this number."
            )
        return self.method

    def check_scheduler(self) -> None:
        """Have the method look at the pipeline's scheduler. Raises `ValueError` if it was made for another one."""
        scheduler, check = getattr(self.clock, "scheduler", None), getattr(self.method, "check_scheduler", None)
        if scheduler is not None and check is not None:
            check(scheduler)

    def _plan_of(self, tick: Tick) -> Plan:
        if tick.new_generation:
            self.check_scheduler()
        reads = getattr(self.method, "reads_timesteps", False)
        return self.plan_for(tick.num_inference_steps, self.clock.timesteps_of_generation() if reads else ())

    def _follow(self, transformer: nn.Module, plan: Plan) -> None:
        """Before a generation: see to it that the decisions reach the modules that are there now.

        Raises:
            ValueError: If another cache has been switched on, a module put in that cannot be reached, or the blocks
                compiled by a torch that cannot trace them.
        """
        try:
            refuse_other_cache(transformer, "was switched on while toca's is on")
            self.connection.follow(transformer, plan)
            self.first_block = next(walk_blocks(transformer, self.spec))[3]
            refuse_compiled(self.first_block)
        except ValueError:
            # The next call starts a generation again, and is refused again.
            self.reset()
            raise
        self.unplaced = Unplaced(transformer, self.spec)

    def __reduce__(self) -> Any:
        # A copy of the hooks and of what undoes them would still point at this transformer.
        raise ValueError("A model cannot be copied or pickled while its cache is on: call toca.disable_cache first.")

    def reset(self) -> None:
        """Forget everything; the next call starts a generation, whoever's it is."""
        self._running = None
        self.ownership = Ownership()
        self.clock.reset()
        self.end_generation()

    def end_generation(self) -> None:
        """Let go of the cached tensors; what was done stays in the record."""
        for memory in self.branches.values():
            self.record.release(memory)
        self.branches.clear()
        self._conditions.clear()
        self._conditional = None
        self.freezer.bypass()
        self.ownership.end()

    def end_generation_of(self, caller: Caller) -> None:
        """The caller's pipeline has come to its end: end the generation, unless it is another caller's by now."""
        if not self.ownership.is_anothers(caller):
            self.end_generation()

    @torch.compiler.disable
    def before_call(self, transformer: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        """Forward pre-hook of the transformer: decide for every site. Where only some rows go first, the call is
        narrowed to them."""
        caller = Caller.current()
        call = own_copy(dict(zip(self.argument_names, args, strict=False)) | kwargs)
        self._enter(caller, call.get("timestep"))
        if self._running is not None:
            # The call before never came to its end.
            self._break_off()
        key = self._key(transformer, call)
        if torch.is_grad_enabled():
            self.clock.pass_by(call.get("timestep"))
            self._bypass("grad", "Gradients are enabled, so the model runs in full; call it under torch.no_grad().")
            return None
        tick = self._tick(call)
        if tick is None:
            return None
        plan = self._plan_of(tick)
        if tick.new_generation:
            self._start_generation(transformer, plan, caller)
        if tick.branch not in self.branches and len(self.branches) >= MAX_BRANCHES:
            self._bypass("branches", f"More than {MAX_BRANCHES} transformer calls in a step: the others run in full.")
            return None
        why = self.unplaced.why_in_full(call)
        if why is not None:
            self._forgo(tick, key, why)
            return None
        self.freezer.whole_norms = modulates_by_token(call.get("timestep"), key.shape.batch)
        memory = self._memory(plan, tick, key, call)
        recorded = len(self.record.calls), len(self.record.passes)
        self._running = Running(plan, memory, tick, call, recorded=recorded)
        try:
            self._running.jobs = self._jobs(transformer, plan, memory, tick, call)
        except NotReached:
            self._forgo(tick, key, MISSED, recorded)
            return None
        return self._begin(self._running.jobs[0], self._running)

    def _enter(self, caller: Caller, timestep: Any) -> None:
        """Let a call in, or refuse it. The refused may have set the scheduler's timesteps anew before."""
        try:
            self.ownership.enter(caller, self.clock.begins_anew(timestep), self.clock.is_at_start(timestep))
        except RuntimeError:
            self.clock.disturbed = True
            raise

    def _tick(self, call: dict) -> Tick | None:
        """The place of a call; `None` where it has none, and runs in full."""
        try:
            return self.clock.tick(self.context, call.get("timestep"), call["hidden_states"])
        except NotPlaced as reason:
            if reason.ends:
                self.end_generation()
            self._bypass("place", str(reason))
            return None

    def _start_generation(self, transformer: nn.Module, plan: Plan, caller: Caller) -> None:
        self._follow(transformer, plan)
        self.end_generation()
        self.ownership.begin(caller)
        self.record = GenerationRecord(plan, schedule=self.clock.schedule)

    def _break_off(self) -> None:
        """A call was not brought to its end: nothing of its generation is fit to go on from, and nothing is held."""
        self._running = None
        self.clock.give_up()
        self.end_generation()

    def after_entry(self, module: nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
        """Forward hook of the module before block 0: compiled blocks see one memory layout, so one graph is enough."""
        return output.contiguous() if self.compiled else output

    @torch.compiler.disable
    def after_call(self, transformer: nn.Module, args: tuple, output: Any) -> Any:
        """Forward hook of the transformer, called after an exception too, then without an output: the call's other
        passes, and what the pipeline gets."""
        if not self.ownership.is_calling(Caller.current()):
            # A call that was refused.
            return None
        try:
            if output is None:
                self._break_off()
            return None if self._running is None else self._complete(transformer, self._running, output)
        except BaseException:
            self._break_off()
            raise
        finally:
            self._running = None
            # The blocks may be called by others too, such as a shallow copy of the model: for them they compute.
            self.freezer.bypass()
            self.ownership.leave()

    def _complete(self, transformer: nn.Module, running: Running, output: Any) -> Any:
        """Run the call's other passes; what takes the place of the output, `None` where it stays."""
        try:
            samples = self._samples(transformer, running, output)
        except NotReached:
            self._forgo(running.tick, running.memory.key, MISSED, running.recorded)
            first = running.jobs[0]
            full = first.run.is_full(running.plan) and first.part.rows is None
            return None if full else transformer.forward(**running.call)
        # A call whose output was given has nothing to go on from.
        running.memory.last_step = None if running.jobs[0].output is not None else running.tick.step
        sample = self._joined(running, samples)
        self._note_conditional(running, sample)
        self._end_step(running)
        return None if sample is sample_of(output) else with_sample(output, sample)

    def _samples(self, transformer: nn.Module, running: Running, output: Any) -> list[torch.Tensor]:
        """What the passes of a call return, the first of which has run."""
        samples = [self._finish(transformer, running.jobs[0], running, sample_of(output))]
        for job in running.jobs[1:]:
            _, kwargs = self._begin(job, running) or ((), own_copy(running.call))
            samples.append(self._finish(transformer, job, running, sample_of(transformer.forward(**kwargs))))
        return samples

    def _forgo(self, tick: Tick, key: CallKey, why: str, recorded: tuple[int, int] | None = None) -> None:
        """Let a call of a generation past the cache: its branch has nothing to go on from, and starts anew with the
        next one. What was recorded of the call is taken back."""
        if recorded is not None:
            del self.record.calls[recorded[0] :], self.record.passes[recorded[1] :]
        memory = self.branches.pop(tick.branch, None)
        if memory is not None and memory.last_step is not None:
            self.record.release(memory)
        if tick.step < tick.num_inference_steps - 1:
            self.branches[tick.branch] = Memory(key, [])
        self._running = None
        self._bypass(why, why)

    def _end_step(self, running: Running) -> None:
        tick = running.tick
        if tick.step == tick.num_inference_steps - 1:
            self.record.release(self.branches.pop(tick.branch))
            self._conditions.pop(tick.branch, None)

    def _key(self, transformer: nn.Module, call: dict) -> CallKey:
        hidden_states, shape = call["hidden_states"], self.spec.call_shape(transformer, call)
        return CallKey(shape, hidden_states.dtype, hidden_states.device, torch.is_inference_mode_enabled())

    def _memory(self, plan: Plan, tick: Tick, key: CallKey, call: dict) -> Memory:
        """The memory of the call's branch, a new one where the call is not like the one before."""
        memory = self.branches.get(tick.branch)
        why = None
        if key.shape.batch > 1 and plan.parts_batches:
            why = self.unplaced.why_whole(call, key.shape.batch)
        condition = Condition.of(call.get(self.spec.condition))
        stale = memory is None or memory.last_step is None or memory.key != key
        # Another prompt is another generation, wherever it comes from.
        stale = stale or not condition.is_same(self._conditions.get(tick.branch))
        stale = stale or memory.whole != (why is not None)
        if not stale and plan.is_guided(tick.step) and any(not part.guided for part in memory.parts):
            stale = True
        if stale:
            self.branches[tick.branch] = memory = Memory(key, [Branch.start(plan, key)], whole=why is not None)
            self._conditions[tick.branch] = condition
            if why is not None:
                self._warn(why, why)
            if plan.gate is not None:
                memory.paired = memory.parts[0].paired = self._is_paired(call["hidden_states"])
        return memory

    def _group_tokens(self, plan: Plan, branch: Branch, call: dict) -> None:
        """Before the first choice of tokens: find out what it depends on, once a generation."""
        grid = branch.key.shape.grid
        if grid is None and self.spec.grid is not None and plan.selection.bonus_patch:
            grid = self.spec.grid(call)
            if grid is None:
                self._warn("grid", "The positions of the image tokens form no grid: the spatial bonus is off.")
        if plan.gate is None and plan.selection.shared_cfg:
            branch.paired = self._is_paired(call["hidden_states"])
        branch.group_tokens(plan, grid)

    def _is_paired(self, hidden_states: torch.Tensor) -> bool:
        """Whether the halves of the batch are the guidance branches of the same images."""
        if hidden_states.shape[0] % 2:
            return False
        if self.batched_cfg is not None:
            return self.batched_cfg
        if self.pipeline is None or not self.spec.batched_cfg:
            return False
        # The branches of guidance see the same latents in every step; two images have parted after the first.
        first, second = hidden_states.chunk(2)
        return torch.equal(first, second)

    def _jobs(self, transformer: nn.Module, plan: Plan, memory: Memory, tick: Tick, call: dict) -> list[Job]:
        """Settle what every part of the batch does in this call."""
        step = tick.step
        # A branch that missed a step, or starts late, has nothing fit to reuse: it computes and measures everything.
        astray = step > 0 and (memory.last_step is None or memory.last_step != step - 1)
        if step == 1 and memory.paired and not self._is_paired(call["hidden_states"]):
            # Two images that began with the same noise looked like the two branches of one.
            memory.paired = False
            for part in memory.parts:
                part.unpair(plan.gate.per_sample and not memory.whole)
        added = any(call.get(name) is not None for name in self.spec.added)
        if added and not astray and plan.narrows(plan.table[step]):
            self._warn("added", "Tokens cannot be dropped where a ControlNet adds to all of them: the step is full.")
            astray = True
        if self.freezer.whole_norms and not astray and plan.narrows(plan.table[step]):
            self._warn("modulated", "Tokens cannot be dropped where each has a timestep of its own: the step is full.")
            astray = True
        given = self._given(plan, memory, tick)
        if given is not None:
            return [given]
        memory.last_step = None
        if not plan.is_guided(step) and not astray:
            self._drop_guidance(plan, memory, tick, call)
        everything = astray or (self.compiled and plan.table[step] == plan.full_row)
        if plan.gate is not None:
            keeper = Gatekeeper(plan, memory, step, call["hidden_states"], self._warn)
            jobs = keeper.decide(astray, lambda job: self._probe(transformer, job, plan, tick, call))
        else:
            jobs = [Job(memory.parts[0], step_pass(plan, step, astray or None, everything), computed=astray)]
        for job in jobs:
            self._prepare(plan, job, tick, call)
        return jobs

    def _prepare(self, plan: Plan, job: Job, tick: Tick, call: dict) -> None:
        """Group the tokens before the first choice among them."""
        if plan.partial_sites and not job.part.groups and any(action.kind == "partial" for action in job.run.row):
            self._group_tokens(plan, job.part, call)

    def _drop_guidance(self, plan: Plan, memory: Memory, tick: Tick, call: dict) -> None:
        """From here on the conditional branch alone runs (T-GATE), and goes on from the mean of both: of a batch its
        half, of separate calls the one that is named so. Where neither can be told from the other both run."""
        if not plan.is_guided(tick.step - 1):
            return
        part = memory.parts[0]
        if self._is_paired(call["hidden_states"]):
            if memory.whole:
                return
            held = memory.cache_bytes
            part.merge_halves(plan)
            self.record.cache_bytes += held - memory.cache_bytes
            half = memory.key.shape.batch // 2
            first = half * self.spec.conditional_half
            part.rows, part.guided = torch.arange(first, first + half, device=memory.key.device), False
        elif tick.branch == "cond":
            other = self.branches.get("uncond")
            if other is not None and (other.key, other.last_step) == (memory.key, tick.step - 1):
                part.merge(other.parts[0])

    def _given(self, plan: Plan, memory: Memory, tick: Tick) -> Job | None:
        """Where guidance is dropped, the unconditional branch's call returns what the conditional one's has returned,
        and its memory is let go. `None` for all other calls."""
        if plan.is_guided(tick.step) or tick.branch != "uncond" or self._conditional is None:
            return None
        step, output = self._conditional
        if step != tick.step:
            return None
        if memory.last_step is not None:
            self.record.release(memory)
        memory.parts, memory.last_step = [Branch(memory.key, [SiteState() for _ in plan.layout.sites])], None
        self._conditional = None
        return Job(memory.parts[0], replayed(plan), output=output)

    def _note_conditional(self, running: Running, sample: torch.Tensor) -> None:
        if running.tick.branch == "cond" and not running.plan.is_guided(running.tick.step):
            self._conditional = running.tick.step, sample

    def _begin(self, job: Job, running: Running) -> tuple[tuple, dict] | None:
        """Freeze a job's decision; the arguments of the call that runs it, `None` for the call's own."""
        self.freezer.freeze(running.plan, job, running.tick.step, self.compiled)
        if job.part.rows is None:
            return None
        batch = running.memory.key.shape.batch
        return (), narrowed(running.call, self.spec, job.part.rows, batch)

    def _probe(self, transformer: nn.Module, job: Job, plan: Plan, tick: Tick, call: dict) -> torch.Tensor:
        """Run a job that only looks; returns the model's output, for what it is worth."""
        self.freezer.freeze(plan, job, tick.step, self.compiled)
        shape = job.part.key.shape
        self.record.add_pass(job.run, shape)
        batch = call["hidden_states"].shape[0]
        output = transformer.forward(**narrowed(call, self.spec, job.part.rows, batch))
        self.freezer.note_input(job)
        self.freezer.check_reached(plan, job)
        return sample_of(output)

    def _finish(self, transformer: nn.Module, job: Job, running: Running, sample: torch.Tensor) -> torch.Tensor:
        """A pass has run: note it, put what fills the model's output in its place, show it to the gate."""
        plan, tick, part = running.plan, running.tick, job.part
        self._record(job, running)
        if job.output is not None:
            return job.output
        self.freezer.note_input(job)
        self.freezer.check_reached(plan, job)
        latents = rows_of_call(running.call["hidden_states"], part.rows)
        sample = self.freezer.finish(plan, job, tick.step, latents, sample)
        if job.run.clusters:
            leaving = job.notes[len(self.freezer.blocks)][-1]
            part.clusters = cluster_tokens(plan, part.key.shape, leaving)
        if job.seen is not None:
            keeper = Gatekeeper(plan, running.memory, tick.step, running.call["hidden_states"], self._warn)
            keeper.observe(job, sample, lambda look: self._probe(transformer, look, plan, tick, running.call))
        return sample

    def _record(self, job: Job, running: Running) -> None:
        plan, tick, part = running.plan, running.tick, job.part
        row, spans = (plan.full_row, ()) if job.computed else (plan.table[tick.step], plan.spans[tick.step])
        if job.output is not None:
            row, spans = job.run.row, job.run.spans
        guided = 1 if part.guided else 2
        batch = guided * part.key.shape.batch
        self.record.add(CallRecord(tick.step, tick.branch, row, spans, part.key.shape, batch, part.numbers))
        self.record.add_pass(job.run, part.key.shape)

    def _joined(self, running: Running, samples: list[torch.Tensor]) -> torch.Tensor:
        """The output for the whole call, from those of its parts."""
        parts = [job.part for job in running.jobs]
        if len(samples) == 1 and (parts[0].rows is None or running.jobs[0].output is not None):
            return samples[0]
        batch = running.memory.key.shape.batch
        joined = samples[0].new_empty(batch, *samples[0].shape[1:])
        for part, sample in zip(parts, samples, strict=True):
            joined.index_copy_(0, part.rows, sample)
            if not part.guided:
                # Both branches get the same, so that guidance changes nothing.
                joined.index_copy_(0, (part.rows + batch // 2) % batch, sample)
        return joined

    def _bypass(self, key: str, why: str) -> None:
        """Let the running call past the cache."""
        self._warn(key, why)
        self.freezer.bypass()
        if self.record.calls and not self.branches:
            # The last generation is over, and this call none of it.
            self.record = GenerationRecord(schedule=self.clock.schedule)
        self.record.bypassed += 1

    def _warn(self, key: str, message: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            logger.warning(message)
