"""What feeds a site token by token, a layer norm as a rule: it makes only what the site will read.

Where the site reuses its output nobody reads the norm's, so one token carries the shape through the modulation; where
the site computes some tokens, those are gathered here. Layer norm and modulation are token-local, so the numbers are
the same; at a few hundred tokens they would cost as much as the feed-forward of the chosen ones. Modulation must be
the same for all tokens, for the block applies it to what is made here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .classes import HANDLE, Function
from .handle import Handle


def make_forward(base: type[nn.Module]) -> Function:
    """`forward(hidden_states (B, T, C)) -> (B, T, C)`, or (B, k, C) of the chosen tokens, or (B, 1, C)."""

    def forward(self: nn.Module, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        handle: Handle | None = getattr(self, HANDLE, None)
        if handle is not None and handle.action == "skip" and hasattr(self, "out_features"):
            # The first layer of a feed-forward that has no module: nobody looks at what the last one makes.
            return hidden_states
        if handle is None or handle.action == "compute" or not handle.lean_norm:
            return base.forward(self, hidden_states, *args, **kwargs)
        if handle.action in ("reuse", "forecast"):
            return handle.one_token(hidden_states)
        return base.forward(self, handle.taken(hidden_states), *args, **kwargs)

    return forward
