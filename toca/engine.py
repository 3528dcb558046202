"""The engine of one transformer: has the decision of each call frozen before block 0, and keeps the books.

It knows no model and no method: a plan says what each site does, the sites' handles carry it to the modules.
"""

from __future__ import annotations

import inspect
import logging
import weakref
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import nn

from .actions import COMPUTE, step_letter
from .clock import Tick, make_clock
from .freezing import Freezer
from .models import FamilySpec, describe, walk_blocks
from .plan import Plan
from .report import CallRecord, GenerationRecord
from .state import Branch, CallKey

logger = logging.getLogger(__name__)

MAX_BRANCHES = 8
"""More unnamed calls than this in one step are no guidance branches: they run in full and are not remembered."""


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
        self.clock = make_clock(pipeline, num_inference_steps, takes_turns)
        self.freezer = Freezer(self.layout, spec)
        self.argument_names = tuple(inspect.signature(type(transformer).forward).parameters)[1:]
        self.context: str | None = None
        self.first_block = next(walk_blocks(transformer, spec))[3]
        self.check_connected: Callable[[], None] = lambda: None
        self.record = GenerationRecord()
        self._plans: dict[int, Plan] = {}
        self._warned: set[str] = set()
        self._running: tuple[Branch, Tick] | None = None
        self.branches: dict[Hashable, Branch] = {}
        if num_inference_steps is not None:
            self.plan_for(num_inference_steps)

    @property
    def compiled(self) -> bool:
        """Whether the blocks are compiled now; they may be at any time."""
        return self.first_block._compiled_call_impl is not None

    def plan_for(self, num_inference_steps: int) -> Plan:
        """The plan for a number of steps; made once.

        Raises:
            ValueError: If the method is a plan for another number of steps.
        """
        if num_inference_steps not in self._plans:
            self._plans[num_inference_steps] = self._make_plan(num_inference_steps)
        return self._plans[num_inference_steps]

    def _make_plan(self, num_inference_steps: int) -> Plan:
        if not isinstance(self.method, Plan):
            return self.method.plan_layout(self.layout, num_inference_steps)
        if self.method.num_inference_steps != num_inference_steps:
            raise ValueError(
                f"The plan is for {self.method.num_inference_steps} steps, but this generation has "
                f"{num_inference_steps}. Generate with num_inference_steps={self.method.num_inference_steps}, or make "
                "a plan for this number."
            )
        return self.method

    def __reduce__(self) -> Any:
        # A copy of the hooks and of what undoes them would still point at this transformer.
        raise ValueError("A model cannot be copied or pickled while its cache is on: call toca.disable_cache first.")

    def reset(self) -> None:
        """Forget everything; the next call starts a generation."""
        self.clock.reset()
        self.end_generation()

    def end_generation(self, *_: Any, **__: Any) -> None:
        """Let go of the cached tensors; what was done stays in the record."""
        for branch in self.branches.values():
            self.record.release(branch)
        self.branches.clear()
        self.freezer.bypass()

    @torch.compiler.disable
    def before_call(self, transformer: nn.Module, args: tuple, kwargs: dict) -> None:
        """Forward pre-hook of the transformer: decide for every site."""
        call = dict(zip(self.argument_names, args, strict=False)) | kwargs
        key = self._key(transformer, call)
        running = self.branches.get(self.context)
        if self._running is not None or (running is not None and running.key != key):
            # The call before never came to its end, or nobody goes on with the generation that is held.
            self.clock.give_up()
        self._running = None
        if torch.is_grad_enabled():
            self._bypass("grad", "Gradients are enabled, so the model runs in full; call it under torch.no_grad().")
            return
        tick = self.clock.tick(self.context, call.get("timestep"))
        plan = self.plan_for(tick.num_inference_steps)
        if tick.new_generation:
            self.check_connected()
            self.end_generation()
            self.record = GenerationRecord(plan)
        if tick.branch not in self.branches and len(self.branches) >= MAX_BRANCHES:
            self._bypass("branches", f"More than {MAX_BRANCHES} transformer calls in a step: the others run in full.")
            return
        branch = self._branch(plan, tick, key)
        self._decide(plan, branch, tick, call)
        self._running = branch, tick

    def after_entry(self, module: nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
        """Forward hook of the module before block 0: compiled blocks see one memory layout, so one graph is enough."""
        return output.contiguous() if self.compiled else output

    def after_call(self, transformer: nn.Module, args: tuple, output: Any) -> None:
        """Forward hook of the transformer: the call ran to its end."""
        if self._running is None:
            return
        (branch, tick), self._running = self._running, None
        branch.last_step = tick.step
        if tick.step == tick.num_inference_steps - 1:
            self.record.release(self.branches.pop(tick.branch))
            self.freezer.bypass()

    def _key(self, transformer: nn.Module, call: dict) -> CallKey:
        hidden_states = call["hidden_states"]
        return CallKey(self.spec.call_shape(transformer, call), hidden_states.dtype, hidden_states.device)

    def _branch(self, plan: Plan, tick: Tick, key: CallKey) -> Branch:
        """The memory of the call's branch, a new one where the call is not like the one before."""
        branch = self.branches.get(tick.branch)
        if branch is None or branch.last_step is None or branch.key != key:
            self.branches[tick.branch] = branch = Branch.start(plan, key)
        return branch

    def _group_tokens(self, plan: Plan, branch: Branch, call: dict) -> None:
        """Before the first choice of tokens: find out what it depends on, once a generation."""
        grid = branch.key.shape.grid
        if grid is None and self.spec.grid is not None and plan.selection.bonus_patch:
            grid = self.spec.grid(call)
            if grid is None:
                self._warn("grid", "The positions of the image tokens form no grid: the spatial bonus is off.")
        branch.group_tokens(plan, self._is_paired(plan, call["hidden_states"]), grid)

    def _is_paired(self, plan: Plan, hidden_states: torch.Tensor) -> bool:
        """Whether the halves of the batch share a selection: asked for, and the same samples twice."""
        if not plan.selection.shared_cfg or hidden_states.shape[0] % 2:
            return False
        if self.batched_cfg is not None:
            return self.batched_cfg
        if self.pipeline is None or not self.spec.batched_cfg:
            return False
        # The branches of guidance see the same latents in every step; two images have parted after the first.
        first, second = hidden_states.chunk(2)
        return torch.equal(first, second)

    def _decide(self, plan: Plan, branch: Branch, tick: Tick, call: dict) -> None:
        """Settle what every site does in this call."""
        # A branch that missed a step, or starts late, has nothing fit to reuse: it computes and measures everything.
        astray = tick.step > 0 and (branch.last_step is None or branch.last_step != tick.step - 1)
        row = (COMPUTE,) * len(self.layout.sites) if astray else plan.table[tick.step]
        measured = self._measured(plan, tick.step, astray)
        branch.last_step = None
        self.record.add(CallRecord(tick.step, tick.branch, row, measured, branch.key.shape))
        if plan.partial_sites and not branch.groups and step_letter(row) != "F":
            self._group_tokens(plan, branch, call)
        self.freezer.freeze(plan, branch, row, measured, tick.step, self.compiled)

    def _measured(self, plan: Plan, step: int, astray: bool) -> frozenset[int]:
        # Compiled blocks would be traced once more for full steps whose measurement nobody reads.
        everything = astray or (self.compiled and step_letter(plan.table[step]) == "F")
        return frozenset(plan.score_sources.values()) if everything else plan.measured[step]

    def _bypass(self, key: str, why: str) -> None:
        """Let the running call past the cache."""
        self._warn(key, why)
        self.freezer.bypass()
        self.record.bypassed += 1

    def _warn(self, key: str, message: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            logger.warning(message)
