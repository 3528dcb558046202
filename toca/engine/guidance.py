"""The branches of classifier-free guidance: told from a batch, dropped, and filled."""

from __future__ import annotations

import weakref
from typing import Any

import torch

from ..memory.algebra import merge, merge_halves
from ..memory.branch import BranchMemory
from ..memory.part import Part
from ..models import FamilySpec
from ..plan.passes import replayed
from .call import Call
from .job import Job


class Guidance:
    """What is known of a transformer's guidance.

    Args:
        spec (`FamilySpec`): Which half of a batch is the conditional one.
        pipeline (`DiffusionPipeline` or `None`): Held weakly.
        batched_cfg (`bool` or `None`): Whether a batch's halves are the branches of the same samples; `None` to find
            out from the pipeline's calls.
    """

    def __init__(self, spec: FamilySpec, pipeline: Any, batched_cfg: bool | None):
        self.spec, self.batched_cfg = spec, batched_cfg
        self.pipeline = None if pipeline is None else weakref.ref(pipeline)
        self._conditional: tuple[int, torch.Tensor] | None = None

    def forget(self) -> None:
        """The generation is over."""
        self._conditional = None

    def is_paired(self, hidden_states: torch.Tensor) -> bool:
        """Whether the halves of the batch are the guidance branches of the same images. Three parts are not (perturbed
        attention, pictures to go by), and where there may be three nobody knows that there are two."""
        if hidden_states.shape[0] % 2:
            return False
        if self.batched_cfg is not None:
            return self.batched_cfg
        if self.pipeline is None or not self.spec.batched_cfg:
            return False
        # The branches of guidance see the same latents in every step; two images have parted after the first.
        return _repeats(hidden_states, 2) and not _repeats(hidden_states, 3)

    def drop(self, call: Call, uncond: BranchMemory | None) -> None:
        """From here on the conditional branch alone runs (T-GATE), and goes on from the mean of both: of a batch its
        half, of separate calls the one that is named so. Where neither can be told from the other both run.

        Args:
            call (`Call`): In the first step without guidance, or a later one.
            uncond (`BranchMemory` or `None`): Of the branch that is named `"uncond"`.
        """
        if not call.plan.is_guided(call.step - 1):
            return
        part = call.memory.parts[0]
        if self.is_paired(call.latents):
            self._drop_half(call, part)
        elif call.tick.branch == "cond" and uncond is not None:
            if (uncond.key, uncond.last_step) == (call.memory.key, call.step - 1):
                merge(part, uncond.parts[0])

    def _drop_half(self, call: Call, part: Part) -> None:
        memory = call.memory
        if memory.whole:
            return
        held, in_ram = memory.cache_bytes, memory.ram_bytes
        merge_halves(call.plan, part)
        call.record.cache_bytes += held - memory.cache_bytes
        call.record.ram_bytes += in_ram - memory.ram_bytes
        half = call.batch // 2
        first = half * self.spec.conditional_half
        part.rows, part.guided = torch.arange(first, first + half, device=memory.key.device), False

    def replay(self, call: Call) -> Job | None:
        """Where guidance is dropped, the unconditional branch's call returns what the conditional one's has returned,
        and its memory is let go. `None` for all other calls."""
        if call.plan.is_guided(call.step) or call.tick.branch != "uncond" or self._conditional is None:
            return None
        step, output = self._conditional
        if step != call.step:
            return None
        memory = call.memory
        if memory.last_step is not None:
            call.record.release(memory)
        memory.parts, memory.last_step = [Part.empty(call.plan, memory.key)], None
        self._conditional = None
        return Job(memory.parts[0], replayed(call.plan), output=output)

    def note(self, call: Call, sample: torch.Tensor) -> None:
        """Keep what a conditional call has returned, for the unconditional one that follows."""
        if call.tick.branch == "cond" and not call.plan.is_guided(call.step):
            self._conditional = call.step, sample


def _repeats(hidden_states: torch.Tensor, parts: int) -> bool:
    """Whether a batch is the same latents several times."""
    if hidden_states.shape[0] % parts:
        return False
    first, *others = hidden_states.chunk(parts)
    return all(torch.equal(first, other) for other in others)
