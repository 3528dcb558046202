"""What features are kept in, and where, so that a transformer's cache fits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch

from ..kernels.sending import has_streams
from ..memory.branch import BranchMemory
from ..memory.ram import Ram, Traffic
from ..plan.fitting import Demand
from .call import Call
from .guidance import Guidance
from .told_once import Warnings


class Holding:
    """How a transformer's features are kept.

    Args:
        given (`torch.dtype` or `None`): What they are kept in; `None` as they are computed, or as a limit has it.
        limit (`int` or `None`): Bytes that all branches of a generation may keep on the device; `None` for any.
        cache_device (`str` or `None`): Where they are kept: `"cpu"` for the machine's memory, `None` for the device
            that computes.

    Attributes:
        dtype (`torch.dtype` or `None`): What they are kept in now.
        ram (`Ram` or `None`): Where they lie, if not on the device that computes.
    """

    def __init__(
        self, given: torch.dtype | None = None, limit: int | None = None, cache_device: str | None = None
    ) -> None:
        self.given, self.limit, self.dtype = given, limit, given
        self.ram = None if cache_device is None else Ram()

    def make_room(self, call: Call, others: Collection[BranchMemory], guidance: Guidance) -> None:
        """See to it that the branch of a call fits beside the others, before it keeps anything: the dtype in which it
        does, in which the others are kept from now on too.

        Raises:
            ValueError: If there is none.
        """
        if self.limit is not None:
            held = [memory for memory in others if memory.parts]
            shapes = [*(memory.key.shape for memory in held), call.key.shape]
            paired = guidance.is_paired(call.latents)
            demand = Demand(call.plan, shapes, call.plan.layout.itemsize, paired, self.ram is not None)
            self.dtype = demand.fitting_dtype(self.limit, self.given)
            for memory in held:
                memory.hold_in(call.plan, self.dtype)
        call.key = replace(call.key, cache_dtype=self.dtype)

    def advise(self, device: torch.device, warn: Warnings) -> None:
        """Say so where features are kept elsewhere and nothing is won by it, for the device that computes."""
        if self.ram is not None and not has_streams(device):
            warn(
                "cache_device",
                f'cache_device="cpu" buys nothing where the model computes on {device.type}: the cache lies in the '
                "machine's memory anyhow, and copies only take time. The outputs are the same.",
            )

    def let_go(self) -> None:
        """Hold nothing on the device of what lies elsewhere."""
        if self.ram is not None:
            self.ram.clear()

    def count_anew(self) -> Traffic | None:
        """A generation begins: what is counted of what it moves; `None` where nothing is moved."""
        if self.ram is None:
            return None
        self.ram.traffic = Traffic()
        return self.ram.traffic
