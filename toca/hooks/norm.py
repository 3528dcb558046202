"""The layer norm before a site: it makes only what the site will read.

Where the site reuses its output nobody reads the norm's, so one token carries the shape through the modulation; where
the site computes some tokens, those are gathered here. Layer norm and modulation are token-local, so the numbers are
the same; at a few hundred tokens they would cost as much as the feed-forward of the chosen ones. Modulation must be
the same for all tokens, for the block applies it to what is made here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..kernels.rows import take_rows
from .classes import HANDLE, Function
from .handle import Handle


def make_forward(base: type[nn.Module]) -> Function:
    """`forward(hidden_states (B, T, C)) -> (B, T, C)`, or (B, k, C) of the chosen tokens, or (B, 1, C)."""

    def forward(self: nn.Module, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        handle: Handle | None = getattr(self, HANDLE, None)
        if handle is None or handle.action == "compute" or not handle.lean_norm:
            return base.forward(self, hidden_states, *args, **kwargs)
        if handle.action in ("reuse", "forecast"):
            return hidden_states[:, :1]
        return base.forward(self, take_rows(hidden_states, handle.chosen()), *args, **kwargs)

    return forward


def modulates_by_token(timestep: Any, batch: int) -> bool:
    """Whether a call of so many samples has a timestep for each token (image-to-video of LTX and Wan, where the tokens
    of the given frame are without noise), so that modulation is not the same for all of them."""
    return isinstance(timestep, torch.Tensor) and timestep.numel() > batch
