"""What features are kept in so that a cache fits: the widest that does, or the numbers of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..kernels.narrow import CACHE_DTYPES, name_of
from ..models.shape import CallShape
from .away import Away
from .cost import cache_bytes, shape_of
from .kept import Kept, cache_device_of
from .table import PlanTable


@dataclass(frozen=True)
class Demand:
    """What a generation would keep.

    Args:
        plan (`PlanTable`): Its plan.
        shapes (`Sequence[CallShape]`): Of the calls of its branches of guidance.
        itemsize (`int`): Bytes of a number as the model computes it.
        batched_cfg (`bool`): Whether the halves of a batch are guidance branches of the same samples.
        in_ram (`bool`): Whether features lie in the machine's memory, so that no more of them are on the device than
            those that are under way.
    """

    plan: PlanTable
    shapes: Sequence[CallShape]
    itemsize: int
    batched_cfg: bool
    in_ram: bool = False

    def bytes_in(self, dtype: torch.dtype | None) -> int:
        """Bytes of the cache on the device, with features in a dtype."""
        total = sum(cache_bytes(self.plan, shape, self.itemsize, self.batched_cfg, dtype) for shape in self.shapes)
        if not self.in_ram:
            return total
        moved = [Away(self.plan, shape, Kept(self.itemsize, dtype), self.batched_cfg) for shape in self.shapes]
        # One branch runs at a time.
        return total - sum(away.bytes for away in moved) + max(away.most_on_device for away in moved)

    def fitting_dtype(self, limit: int, given: torch.dtype | None = None) -> torch.dtype | None:
        """The dtype to keep features in: the given one, else the widest with which the cache is not above the limit.

        Args:
            limit (`int`): Bytes, at most.
            given (`torch.dtype`, *optional*): What was asked for; `None` leaves the choice.

        Raises:
            ValueError: If none fits; it says how large the cache is with each, and what keeps less.
        """
        for dtype in (given,) if given is not None else self._narrower():
            if self.bytes_in(dtype) <= limit:
                return dtype
        raise ValueError(self._refusal(limit, given))

    def _narrower(self) -> tuple[torch.dtype | None, ...]:
        """The dtypes to be tried, the widest first."""
        half = (torch.bfloat16,) if self.itemsize > torch.bfloat16.itemsize else ()
        return None, *half, torch.float8_e4m3fn

    def _refusal(self, limit: int, given: torch.dtype | None) -> str:
        named = "" if given is None else f" in {name_of(given)}"
        sizes = {"None": self.bytes_in(None), **{repr(name): self.bytes_in(d) for name, d in CACHE_DTYPES.items()}}
        table = ", ".join(f"{name}: {amount(size)}" for name, size in sizes.items())
        layout = self.plan.layout
        stack = self.itemsize * sum(layout.numbers_leaving(layout.layers - 1, shape) for shape in self.shapes)
        where = " of the device, beside what lies in the machine's memory," if self.in_ram else ""
        return (
            f"The cache of {self.plan.method}{named} takes {amount(self.bytes_in(given))}{where} at this size, more "
            f"than `max_cache_bytes`, {amount(limit)}. By `cache_dtype` it is {table}. {self._elsewhere(limit, given)}"
            "Less is kept by methods with one "
            f'residual for the whole stack, {amount(stack)} (`which="teacache"` of a toca.CacheMethod), or for the '
            'model (`scope="lite"` of toca.TaylorSeer); smaller pictures and batches take less in proportion.'
        )

    def _elsewhere(self, limit: int, given: torch.dtype | None) -> str:
        """A hint, where it would fit with its features in the machine's memory."""
        moved = self.bytes_in(given) if self.in_ram else replace(self, in_ram=True).bytes_in(given)
        if self.in_ram or moved > limit:
            return ""
        return f'With `cache_device="cpu"` at most {amount(moved)} of it are on the device. '


def demand_of(
    plan: PlanTable,
    batched_cfg: bool = False,
    dtype: torch.dtype | None = None,
    batch_size: int = 1,
    cache_device: torch.device | str | None = None,
    **sizes: Any,
) -> Demand:
    """What one branch of a generation would keep; the arguments are those of `plan_cost`."""
    in_ram = cache_device_of(cache_device) is not None
    names = ("height", "width", "num_frames", "text_tokens")
    shape = shape_of(plan, batch_size, *(sizes.get(name) for name in names))
    return Demand(plan, (shape,), plan.layout.itemsize if dtype is None else dtype.itemsize, batched_cfg, in_ram)


def amount(size: int) -> str:
    """Bytes for people; where a unit rounds them, in full beside it."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB")):
        if size >= unit:
            return f"{size / unit:.2f} {name} ({size:,} bytes)"
    return f"{size:,} bytes"
