"""What a branch is conditioned on: text, or a class. Another one is another generation, wherever it comes from."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Condition:
    """A caller's own tensor, and which of its contents it was: it may be a buffer that the next prompt is written to.

    Args:
        value (`torch.Tensor` or `None`): Of any shape; `None` where the call has no condition.
        version (`int` or `None`): How often it had been written to; `None` where torch does not count (in inference
            mode).
    """

    value: torch.Tensor | None
    version: int | None

    @classmethod
    def of(cls, value: torch.Tensor | None) -> Condition:
        """The condition of a call."""
        if not isinstance(value, torch.Tensor) or value.is_inference():
            return cls(value, None)
        return cls(value, value._version)

    def is_same(self, other: Condition | None) -> bool:
        """Whether another call's condition is equal: mostly both are one tensor."""
        if other is None:
            return self.value is None
        mine, others = self.value, other.value
        if mine is others:
            return self.version == other.version
        if mine is None or others is None or other._is_overwritten():
            return False
        return mine.shape == others.shape and torch.equal(mine, others)

    def _is_overwritten(self) -> bool:
        return self.version is not None and self.value is not None and self.value._version != self.version
