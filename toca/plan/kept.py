"""How large a number is that is kept between steps, and where it may lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..axes.fills import Fill
from ..checks import refusal
from ..kernels.narrow import scale_bytes

CACHE_DEVICES = ("cpu",)
"""Where features may be kept besides on the device that computes, by the names that users give."""


def cache_device_of(value: Any, name: str = "cache_device") -> str | None:
    """Where features are kept, from its name or a `torch.device`; `None` for the device that computes.

    Raises:
        ValueError: If they cannot be kept there.
    """
    if value is None:
        return None
    given = str(value) if isinstance(value, torch.device) else value
    if isinstance(given, str) and given in CACHE_DEVICES:
        return given
    raise refusal(name, value, "must be 'cpu' for the machine's memory, or None for the device that computes")


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
