"""The engine of one transformer: what happens before, and after, each of its calls.

It knows no model and no method: a plan says what each site does, the sites' handles carry it to the modules.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from ..hooks.shadow import shadow
from ..methods import Method
from ..models import FamilySpec, describe
from ..plan.table import PlanTable
from .adapters import Adapters
from .arguments import own_copy
from .branch_names import BranchNames
from .branches import MAX_BRANCHES, Branches
from .call import Call, key_of
from .callers import Caller, Ownership
from .clock import make_clock
from .connection import Connection
from .decisions import Decisions
from .guidance import Guidance
from .holding import Holding
from .job import sample_of, with_sample
from .pipeline_calls import call_under_way
from .plans import Plans
from .ranks import Ranks, why_uneven
from .record import GenerationRecord
from .runner import Runner
from .script import Script
from .stages import Stages
from .tick import NotPlaced, Tick
from .timesteps import Reading
from .told_once import Warnings
from .unplaced import MISSED, NotReached, Unplaced


class Engine:
    """State and decisions of one transformer. Its attributes are the rooms of this folder, one of each.

    Args:
        transformer (`nn.Module`): The model.
        spec (`FamilySpec`): Its family.
        method (`Method` or `PlanTable`): Makes the plan for a number of steps, or is the plan.
        pipeline (`DiffusionPipeline`, *optional*): The pipeline whose scheduler tells the step.
        num_inference_steps (`int`, *optional*): Steps of a generation, for a bare transformer.
        batched_cfg (`bool`, *optional*): Whether the batch's halves are guidance branches of the same samples;
            `None` to find out from the pipeline's calls.
        takes_turns (`bool`, defaults to `False`): Whether other transformers of the pipeline run some of the steps.
        holding (`Holding`, *optional*): How features are kept; as they are computed by default.

    Attributes:
        chosen (`str`): How the method was chosen, for the summary; empty where it was named.
        scope (`Caller` or `None`): Who is within `toca.cached`; `None` where the cache is on until it is taken off.
    """

    def __init__(
        self,
        transformer: nn.Module,
        spec: FamilySpec,
        method: Method | PlanTable,
        pipeline: Any = None,
        num_inference_steps: int | None = None,
        batched_cfg: bool | None = None,
        takes_turns: bool = False,
        holding: Holding | None = None,
    ):
        self.spec, self.layout = spec, describe(transformer, spec)
        self.plans, self.holding = Plans(method, self.layout), holding or Holding()
        self.clock = make_clock(pipeline, num_inference_steps, takes_turns, Reading.of(spec))
        self.ownership, self.names = Ownership(), BranchNames()
        self.decisions = Decisions(self.layout, spec, self.holding.ram)
        self.connection = Connection(transformer, spec, self.decisions)
        self.unplaced, self.adapters = Unplaced(transformer, spec), Adapters()
        self.guidance, self.branches = Guidance(spec, pipeline, batched_cfg), Branches(spec, self.holding)
        self.warn = Warnings()
        self.runner = Runner(self.decisions, self.guidance, self.branches, self.warn)
        self.record = GenerationRecord()
        self.argument_names = tuple(inspect.signature(type(transformer).forward).parameters)[1:]
        self.call: Call | None = None
        self.chosen = ""
        self.scope: Caller | None = None
        if num_inference_steps is not None:
            self.plans.plan_for(num_inference_steps)

    def follow_script(self, script: Script) -> None:
        """Return what is known beforehand in the steps that a script names, and write down what the others return."""
        self.decisions.wraps_all, self.runner.script = True, script

    def is_in_anothers_scope(self, scope: Caller | None) -> bool:
        """Whether somebody else, who can still come to its end, is within `toca.cached`."""
        return self.scope is not None and self.scope != scope and not self.scope.is_gone

    # A call begins.

    @torch.compiler.disable
    def before_call(
        self, transformer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Forward pre-hook of the transformer: decide for every site. Where only some rows go first, the call is for
        them alone."""
        caller = Caller.current()
        arguments = own_copy(dict(zip(self.argument_names, args, strict=False)) | kwargs)
        if not self._enter(caller, arguments.get(self.spec.timestep)):
            return None
        if self.call is not None:
            # The call before never came to its end.
            self._break_off()
        call = self._placed(caller, transformer, arguments)
        if call is None:
            return None
        self.branches.open(call, self.unplaced, self.guidance, self.warn)
        self.record.cache_dtype = call.memory.key.cache_dtype
        self.call, call.mark = call, self.record.mark
        self.runner.settle(call)
        first = self.runner.begin(call, call.jobs[0])
        return None if first is None else ((), first)

    def _enter(self, caller: Caller, timestep: Any) -> bool:
        """Let a call in, or refuse it. The refused may have set the scheduler's timesteps anew before."""
        try:
            return self.ownership.enter(
                caller, partial(self.clock.begins_anew, timestep), partial(self.clock.is_at_start, timestep)
            )
        except RuntimeError:
            self.clock.disturbed = True
            raise

    def _placed(self, caller: Caller, transformer: nn.Module, arguments: dict[str, Any]) -> Call | None:
        """A call with its plan and its place in the generation; `None` where it runs in full, past the cache."""
        latents, timestep = self.spec.latents_of(arguments), arguments.get(self.spec.timestep)
        if latents is None:
            self.clock.pass_by(timestep)
            self._bypass(
                "latents",
                "The samples of a call differ in size, or have several pictures each: such calls run in full, past "
                "the cache.",
            )
            return None
        self.follow_ranks(transformer)
        ranks, adapters = self.decisions.block_span.ranks, self.adapters.state(transformer)
        key = key_of(self.spec, transformer, arguments, latents, self.holding.dtype, ranks, adapters)
        if torch.is_grad_enabled():
            self.clock.pass_by(timestep)
            self._bypass("grad", "Gradients are enabled, so the model runs in full; call it under torch.no_grad().")
            return None
        tick = self._tick(timestep, latents)
        if tick is None:
            return None
        plan = self.plans.plan_at(tick, self.clock)
        self.follow_ranks(transformer, plan)
        if tick.new_generation:
            self._start_generation(transformer, plan, caller)
        if not self.branches.takes(tick.branch):
            self._bypass("branches", f"More than {MAX_BRANCHES} transformer calls in a step: the others run in full.")
            return None
        noise = partial(self.clock.level_at, tick.step)
        call = Call(transformer, self.spec, plan, tick, key, arguments, self.record, noise, self.connection.compiled)
        why = self.unplaced.why_in_full(arguments, plan.selection is not None) or why_uneven(key)
        if why is not None:
            self._forgo(call, why)
            return None
        return call

    def follow_ranks(self, transformer: nn.Module, plan: PlanTable | None = None) -> None:
        """Know the processes that share the model's tokens by now, or under the plan its blocks. Raises `ValueError`
        if there is no caching with them, the plan cannot be carried out on a share, or they are not there."""
        span = self.decisions.block_span
        try:
            span.ranks = Ranks.of(transformer, self.spec, span.ranks)
            if plan is not None:
                self.decisions.stages = Stages.of(plan)
            if span.ranks is not None and plan is not None:
                span.ranks.check(plan)
        except ValueError:
            self.reset()
            raise

    def _tick(self, timestep: Any, latents: torch.Tensor) -> Tick | None:
        """The place of a call; `None` where it has none, and runs in full."""
        try:
            return self.clock.tick(self.names.current, timestep, latents)
        except NotPlaced as reason:
            if reason.ends:
                self.end_generation()
            self._bypass("place", str(reason))
            return None

    def stand_in(self, transformer: nn.Module) -> None:
        """Stand in the place of the transformer's `forward`; anew where somebody has put his own there since."""
        shadow(transformer, "forward", self.run_model)

    def run_model(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the transformer's `forward` does: nothing, where the model's output is filled."""
        given = dict(zip(self.argument_names, args, strict=False)) | kwargs
        filled = None if self.call is None else self.runner.filled(self.call, given)
        if filled is not None:
            return filled
        output = forward(*args, **kwargs)
        self.runner.forms.note(given, output)
        return output

    # A call ends.

    @torch.compiler.disable
    def after_call(self, transformer: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Forward hook of the transformer, called after an exception too, then without an output: the call's other
        passes, and what the pipeline gets."""
        if not self.ownership.is_calling(Caller.current()):
            # A call that was refused.
            return None
        try:
            if output is None:
                self._break_off()
            return None if self.call is None else self._complete(self.call, output)
        except BaseException:
            self._break_off()
            raise
        finally:
            self.call = None
            # The blocks may be called by others too, such as a shallow copy of the model: for them they compute.
            self.decisions.bypass()
            self.ownership.leave()

    def _complete(self, call: Call, output: Any) -> Any:
        """Run the call's other passes; what takes the place of the output, `None` where it stays."""
        try:
            sample = self.runner.complete(call, output)
        except NotReached:
            self._forgo(call, MISSED, call.mark)
            first = call.jobs[0]
            full = first.run.is_full(call.plan) and first.part.rows is None
            return None if full else call.transformer.forward(**call.arguments)
        self.guidance.note(call, sample)
        self.branches.close(call)
        return None if sample is sample_of(output) else with_sample(output, sample)

    def after_entry(self, module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        """Forward hook of the module before block 0: compiled blocks see one memory layout, so one graph is enough."""
        return output.contiguous() if self.connection.compiled else output

    # A call goes past the cache.

    def _forgo(self, call: Call, why: str, mark: tuple[int, int] | None = None) -> None:
        """Let a call of a generation past the cache. What was recorded of it is taken back."""
        if mark is not None:
            self.record.take_back(mark)
        self.branches.forgo(call)
        self.call = None
        self._bypass(why, why)

    def _bypass(self, key: str, why: str) -> None:
        """Let the running call past the cache."""
        self.warn(key, why)
        self.decisions.bypass()
        if self.record.calls and not self.branches:
            # The last generation is over, and this call none of it.
            self.record = self.record.next(None, self.clock.schedule, call_under_way())
        self.record.bypassed += 1

    # A generation begins, and ends.

    def _start_generation(self, transformer: nn.Module, plan: PlanTable, caller: Caller) -> None:
        """See to it that the decisions reach the modules that are there now, and open the books. Raises `ValueError`
        if they cannot be reached, or another cache has been switched on."""
        try:
            self.connection.follow_to_run(transformer, plan)
            self.stand_in(transformer)
        except ValueError:
            # The next call starts a generation again, and is refused again.
            self.reset()
            raise
        self.unplaced = Unplaced(transformer, self.spec)
        self.end_generation()
        self.ownership.begin(caller)
        self.record = self.record.next(plan, self.clock.schedule, call_under_way())
        self.record.traffic = self.holding.count_anew()

    def _break_off(self) -> None:
        """A call was not brought to its end: nothing of its generation is fit to go on from, and nothing is held."""
        self.call = self.record.call = None
        self.clock.give_up()
        self.end_generation()

    def reset(self) -> None:
        """Forget everything; the next call starts a generation, whoever's it is."""
        self.call = self.record.call = None
        self.ownership.forget()
        self.clock.reset()
        self.end_generation()

    def end_generation(self) -> None:
        """Let go of the cached tensors; what was done stays in the record."""
        self.branches.release_all(self.record)
        self.guidance.forget()
        self.decisions.bypass()
        self.ownership.end()

    def end_generation_of(self, caller: Caller) -> None:
        """The caller's pipeline has come to its end: end the generation, unless it is another caller's by now."""
        if not self.ownership.is_anothers(caller):
            self.record.call = None
            self.end_generation()

    def __reduce__(self) -> Any:
        # A copy of the hooks and of what undoes them would still point at this transformer.
        raise ValueError("A model cannot be copied or pickled while its cache is on: call toca.disable_cache first.")
