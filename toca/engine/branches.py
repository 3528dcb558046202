"""The branches of a generation: for each what it remembers, and what it is conditioned on."""

from __future__ import annotations

from collections.abc import Hashable

from ..memory.branch import BranchMemory
from ..memory.part import Part
from ..models import FamilySpec
from .call import Call, grid_of
from .condition import Condition
from .guidance import Guidance
from .holding import Holding
from .record import GenerationRecord
from .told_once import Warnings
from .unplaced import Unplaced

MAX_BRANCHES = 8
"""More unnamed calls than this in one step are no guidance branches: they run in full and are not remembered."""


class Branches(dict[Hashable, BranchMemory]):
    """The memory of each branch.

    Args:
        spec (`FamilySpec`): Names the argument that is the condition.
        holding (`Holding`): How features are kept.
    """

    def __init__(self, spec: FamilySpec, holding: Holding):
        super().__init__()
        self.holding = holding
        self.condition = spec.condition
        # The caller's own tensors.
        self._conditions: dict[Hashable, Condition] = {}

    def takes(self, branch: Hashable) -> bool:
        """Whether there is room for one more."""
        return branch in self or len(self) < MAX_BRANCHES

    def open(self, call: Call, unplaced: Unplaced, guidance: Guidance, warn: Warnings) -> None:
        """Give a call the memory of its branch, a new one where the call is not like the one before. Raises
        `ValueError` if there is no room for that."""
        why = None
        if call.batch > 1 and call.plan.parts_batches:
            why = unplaced.why_whole(call.arguments, call.batch)
        condition = Condition.of(call.arguments.get(self.condition))
        memory = self.get(call.tick.branch)
        if memory is None or self._is_stale(memory, call, condition, why is not None):
            others = [other for branch, other in self.items() if branch != call.tick.branch]
            self.holding.make_room(call, others, guidance)
            self.holding.advise(call.key.device, warn)
            part = Part.start(call.plan, call.key, ram=self.holding.ram)
            memory = BranchMemory(call.key, [part], whole=why is not None)
            self[call.tick.branch], self._conditions[call.tick.branch] = memory, condition
            if why is not None:
                warn(why, why)
            if call.plan.gate is not None:
                memory.paired = memory.parts[0].paired = guidance.is_paired(call.latents)
            if any(axis is not None and axis.reads_grid for axis in (call.plan.gate, call.plan.fill)):
                memory.grid = memory.parts[0].grid = grid_of(call)
        call.memory = memory

    def _is_stale(self, memory: BranchMemory, call: Call, condition: Condition, whole: bool) -> bool:
        if memory.last_step is None or memory.key != call.key or memory.whole != whole:
            return True
        # Another prompt is another generation, wherever it comes from.
        if not condition.is_same(self._conditions.get(call.tick.branch)):
            return True
        return call.plan.is_guided(call.step) and any(not part.guided for part in memory.parts)

    def close(self, call: Call) -> None:
        """A call has ended: at the last step its branch lets go."""
        if call.is_last:
            call.record.release(self.pop(call.tick.branch))
            self._conditions.pop(call.tick.branch, None)
            if not self:
                self.holding.let_go()

    def forgo(self, call: Call) -> None:
        """A call goes past the cache: its branch has nothing to go on from, and starts anew with the next one."""
        memory = self.pop(call.tick.branch, None)
        self.holding.let_go()
        if memory is not None and memory.last_step is not None:
            call.record.release(memory)
        if not call.is_last:
            self[call.tick.branch] = BranchMemory(call.key, [])

    def release_all(self, record: GenerationRecord) -> None:
        """Let go of everything; what was held stays in the books."""
        for memory in self.values():
            record.release(memory)
        self.holding.let_go()
        self.clear()
        self._conditions.clear()
