"""What is remembered of one branch of guidance in one generation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ..models.shape import CallKey
from ..plan.table import PlanTable
from .part import Part


@dataclass(eq=False)
class BranchMemory:
    """The memory of one branch in one generation, in parts of images that have decided alike.

    Args:
        key (`CallKey`): Of the whole call.
        parts (`list[Part]`): Together they hold every row once.
        paired (`bool`): Whether the halves of the batch are guidance branches of the same images.
        whole (`bool`): Whether the rows of the call must stay together.
        grid (`tuple[int, int, int]` or `None`): Frames, rows and columns of a sample's tokens, where a gate reads it.
        last_step (`int` or `None`): The last step that ran to its end; `None` before the first and while one runs.
    """

    key: CallKey
    parts: list[Part]
    paired: bool = False
    whole: bool = False
    grid: tuple[int, int, int] | None = None
    last_step: int | None = None

    def hold_in(self, plan: PlanTable, cache_dtype: torch.dtype | None) -> None:
        """Keep features in another dtype from now on, and what is kept of them already."""
        if cache_dtype != self.key.cache_dtype:
            self.key = replace(self.key, cache_dtype=cache_dtype)
            for part in self.parts:
                part.hold_in(plan, cache_dtype)

    @property
    def cache_bytes(self) -> int:
        """Bytes of all tensors held."""
        return sum(part.cache_bytes for part in self.parts)

    @property
    def ram_bytes(self) -> int:
        """Bytes of those in the machine's memory, where features lie there."""
        return sum(part.ram_bytes for part in self.parts)
