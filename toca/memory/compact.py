"""Terms that are kept in fewer bytes than they are computed in, and cast back when they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..kernels.narrow import FP8, from_fp8, narrowed, to_fp8
from .terms import Terms, Value, map_parts


@dataclass(eq=False)
class Narrow:
    """A tensor in fewer bytes.

    Args:
        codes (`torch.Tensor`): Its numbers: in its own shape, or of 8 bits in rows.
        shape (`torch.Size`): Its shape.
        dtype (`torch.dtype`): What it was computed in.
        scale (`torch.Tensor` or `None`): (..., 1), float32: of each row of 8 bits.
    """

    codes: torch.Tensor
    shape: torch.Size
    dtype: torch.dtype
    scale: torch.Tensor | None = None

    def wide(self) -> torch.Tensor:
        """The tensor as it was computed, but for rounding."""
        if self.scale is None:
            return self.codes.to(self.dtype)
        return from_fp8(self.codes, self.scale, self.dtype).view(self.shape)


class CompactTerms(Terms):
    """The same quantity in another dtype. Nobody who asks sees it: what is read is in the dtype that was computed in,
    what is put in is cast. Sums that a fill keeps in float32 are cast like other terms.

    Args:
        dtype (`torch.dtype` or `None`): What is kept is in it; `None` for what it is computed in.
        row (`int`): Numbers of a row with a scale of its own, of tensors of more than three dimensions; those
            of others are their last dimension. 0 where a row is all that a sample has.
    """

    def __init__(self, dtype: torch.dtype | None, row: int) -> None:
        self.dtype, self.row = dtype, row
        self._value: Any = None
        self._higher: Any = []
        super().__init__()

    @property
    def value(self) -> Any:
        return self._wide(self._value)

    @value.setter
    def value(self, value: Any) -> None:
        self._value = None if value is None else map_parts(self._narrow, value)

    @property
    def tokens(self) -> int:
        return self._value.shape[1]

    @property
    def higher(self) -> list[Any]:
        return [self._wide(term) for term in self._higher]

    @higher.setter
    def higher(self, terms: list[Any]) -> None:
        self._higher = [map_parts(self._narrow, term) for term in terms]

    def rewrite(self, value: Value) -> None:
        if not self.is_held(value):
            self.value = value

    def is_held(self, value: Value) -> bool:
        first = value[0] if isinstance(value, tuple) else value
        return first is next(iter(self.tensors()), None)

    def tensors(self) -> list[torch.Tensor]:
        held = [] if self._value is None else [self._value, *self._higher]
        parts = [part for term in held for part in (term if isinstance(term, tuple) else (term,))]
        return [tensor for part in parts for tensor in (part.codes, part.scale) if tensor is not None]

    def emptied(self) -> CompactTerms:
        return CompactTerms(self.dtype, self.row)

    def _narrow(self, tensor: torch.Tensor) -> Narrow:
        if self.dtype is None:
            return Narrow(tensor, tensor.shape, tensor.dtype)
        if self.dtype != FP8:
            return Narrow(narrowed(tensor, self.dtype), tensor.shape, tensor.dtype)
        if not self.row:
            rows = tensor.reshape(len(tensor), -1)
        else:
            rows = tensor.reshape(-1, self.row) if tensor.ndim > 3 else tensor
        codes, scale = to_fp8(rows)
        return Narrow(codes, tensor.shape, tensor.dtype, scale)

    @staticmethod
    def _wide(term: Any) -> Any:
        return None if term is None else map_parts(Narrow.wide, term)
