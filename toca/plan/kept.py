"""How large a number is that is kept between steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..axes.fills import Fill
from ..kernels.narrow import scale_bytes


@dataclass(frozen=True)
class Kept:
    """How features are kept.

    Args:
        computed (`int`): Bytes of a number as the model computes it.
        dtype (`torch.dtype` or `None`): What it is kept in; `None` as it is computed.
    """

    computed: int
    dtype: torch.dtype | None = None

    @property
    def itemsize(self) -> int:
        """Bytes of a number that is kept."""
        return self.computed if self.dtype is None else self.dtype.itemsize

    def scale_bytes(self, rows: int) -> int:
        """Bytes of the scales of so many rows of numbers."""
        return scale_bytes(self.dtype, rows)

    def bytes(self, numbers: int, rows: int, fill: Fill | None) -> int:
        """Bytes of one quantity.

        Args:
            numbers (`int`): In its value.
            rows (`int`): That they make.
            fill (`Fill` or `None`): What forecasts it, and keeps terms beside the value; `None` where it is reused.
        """
        terms = 1 if fill is None else 1 + fill.kept
        if self.dtype is not None:
            return terms * (numbers * self.itemsize + self.scale_bytes(rows))
        # Some terms are wider than what they are made of.
        return numbers * (self.computed + (0 if fill is None else fill.term_bytes(self.computed)))
