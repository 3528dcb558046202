"""Feed-forwards: token-local, so a partial call is exact for the tokens it computes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .classes import HANDLE, Function
from .handle import Handle
from .turns import Turns


def make_forward(base: type[nn.Module]) -> Function:
    """`forward(hidden_states (B, T, C)) -> (B, T, C)`: gather, run, scatter."""

    def forward(self: nn.Module, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        handle: Handle | None = getattr(self, HANDLE, None)
        if handle is None:
            # An offloading hook may still hold this function after the cache was disabled.
            return base.forward(self, hidden_states, *args, **kwargs)
        return _decided(base, self, handle, hidden_states, *args, **kwargs)

    return forward


def make_forward_in_turn(base: type[nn.Module]) -> Function:
    """The same of a module that a block calls several times: each call asks a handle of its own."""

    def forward(self: nn.Module, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        turns: Turns | None = getattr(self, HANDLE, None)
        if turns is None:
            return base.forward(self, hidden_states, *args, **kwargs)
        return _decided(base, self, turns.take(), hidden_states, *args, **kwargs)

    return forward


def _decided(
    base: type[nn.Module], module: nn.Module, handle: Handle, hidden_states: torch.Tensor, *args: Any, **kwargs: Any
) -> torch.Tensor:
    if handle.action in ("reuse", "forecast"):
        return handle.filled()
    if handle.action == "skip":
        return _as_wide(module, hidden_states)
    if handle.action == "compute":
        return handle.kept(base.forward(module, hidden_states, *args, **kwargs))
    return handle.refreshed(base.forward(module, handle.picked(hidden_states), *args, **kwargs))


def _as_wide(module: nn.Module, hidden_states: torch.Tensor) -> torch.Tensor:
    """What nobody looks at, with as many channels as the module makes: a lone last layer reads more."""
    width = getattr(module, "out_features", hidden_states.shape[-1])
    return hidden_states if hidden_states.shape[-1] == width else hidden_states[..., :1].expand(-1, -1, width)
