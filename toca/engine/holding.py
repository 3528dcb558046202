"""What features are kept in, so that a transformer's cache fits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch

from ..memory.branch import BranchMemory
from ..plan.fitting import Demand
from .call import Call
from .guidance import Guidance


class Holding:
    """How a transformer's features are kept.

    Args:
        given (`torch.dtype` or `None`): What they are kept in; `None` as they are computed, or as a limit has it.
        limit (`int` or `None`): Bytes that all branches of a generation may keep; `None` for any.

    Attributes:
        dtype (`torch.dtype` or `None`): What they are kept in now.
    """

    def __init__(self, given: torch.dtype | None = None, limit: int | None = None) -> None:
        self.given, self.limit, self.dtype = given, limit, given

    def make_room(self, call: Call, others: Collection[BranchMemory], guidance: Guidance) -> None:
        """See to it that the branch of a call fits beside the others, before it keeps anything: the dtype in which it
        does, in which the others are kept from now on too.

        Raises:
            ValueError: If there is none.
        """
        if self.limit is not None:
            held = [memory for memory in others if memory.parts]
            shapes = [*(memory.key.shape for memory in held), call.key.shape]
            demand = Demand(call.plan, shapes, call.plan.layout.itemsize, guidance.is_paired(call.latents))
            self.dtype = demand.fitting_dtype(self.limit, self.given)
            for memory in held:
                memory.hold_in(call.plan, self.dtype)
        call.key = replace(call.key, cache_dtype=self.dtype)
