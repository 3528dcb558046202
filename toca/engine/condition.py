"""What a branch is conditioned on: text, or a class. Another one is another generation, wherever it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Condition:
    """A caller's own tensors, and which of their contents they were: they may be buffers that the next prompt is
    written to.

    Args:
        values (`tuple[torch.Tensor, ...]`): Of any shape: one, or one a sample; none where the call has no condition.
        versions (`tuple[int | None, ...]`): How often each had been written to; `None` where torch does not count (in
            inference mode).
    """

    values: tuple[torch.Tensor, ...]
    versions: tuple[int | None, ...]

    @classmethod
    def of(cls, value: torch.Tensor | Sequence[torch.Tensor] | None) -> Condition:
        """The condition of a call."""
        given = value if isinstance(value, (list, tuple)) else (value,)
        values = tuple(each for each in given if isinstance(each, torch.Tensor))
        return cls(values, tuple(map(_version, values)))

    def is_same(self, other: Condition | None) -> bool:
        """Whether another call's condition is equal: mostly both are the same tensors."""
        if other is None:
            return not self.values
        if len(self.values) != len(other.values):
            return False
        return all(self._is_same(other, place) for place in range(len(self.values)))

    def _is_same(self, other: Condition, place: int) -> bool:
        mine, others = self.values[place], other.values[place]
        if mine is others:
            return self.versions[place] == other.versions[place]
        if other._is_overwritten(place):
            return False
        return mine.shape == others.shape and torch.equal(mine, others)

    def _is_overwritten(self, place: int) -> bool:
        return self.versions[place] is not None and _version(self.values[place]) != self.versions[place]


def _version(tensor: torch.Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version
