"""Feed-forwards: token-local, so a partial call is exact for the tokens it computes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .classes import HANDLE, Function
from .handle import Handle


def make_forward(base: type[nn.Module]) -> Function:
    """`forward(hidden_states (B, T, C)) -> (B, T, C)`: gather, run, scatter."""

    def forward(self: nn.Module, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        handle: Handle | None = getattr(self, HANDLE, None)
        if handle is None:
            # An offloading hook may still hold this function after the cache was disabled.
            return base.forward(self, hidden_states, *args, **kwargs)
        if handle.action in ("reuse", "forecast"):
            return handle.filled()
        if handle.action == "skip":
            return hidden_states
        if handle.action == "compute":
            return handle.kept(base.forward(self, hidden_states, *args, **kwargs))
        return handle.refreshed(base.forward(self, handle.picked(hidden_states), *args, **kwargs))

    return forward
