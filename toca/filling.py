"""How to fill: what a site returns for the tokens it did not compute. Here: what it last returned for them."""

from __future__ import annotations

from typing import Any

import torch

from .kernels.rows import put_rows, take_rows


class Handle:
    """The frozen decision of one site for the running call. It sits on the module (or attention processor) and is
    all that a module's forward looks at, so that `torch.compile` guards on it and nothing else.

    Attributes:
        action (`str`): `"compute"`, `"partial"` or `"reuse"`.
        keep (`bool`): Whether a computed output is remembered.
        index (`torch.Tensor` or `None`): (rows, k): the tokens a partial action computes, counted over the batch.
        choose (`Callable` or `None`): Makes the index when its turn comes, where it could not be made before.
        measure (`Callable` or `None`): `projected -> statistic`, where attention is measured.
        state (`SiteState`): What the site remembers.
        narrow (`bool`): Whether the norm before the module makes only the tokens that the module reads.
        dense (`bool`): Whether a block's outputs are laid out like every other block's, so that one compiled graph
            serves all of them.
    """

    def __init__(self):
        self.state: Any = None
        self.narrow = self.dense = False
        self.bypass()

    def bypass(self) -> None:
        """Compute, remember nothing, measure nothing."""
        self.action, self.keep, self.measure = "compute", False, None
        self.index = self.choose = None

    def kept(self, output):
        """Remember `output` (a tensor or a tuple of tensors) and return it."""
        if self.keep:
            whole = isinstance(output, torch.Tensor)
            self.state.output = output.contiguous() if whole else tuple(part.contiguous() for part in output)
        return output

    def refreshed(self, rows: torch.Tensor) -> torch.Tensor:
        """Write the computed `rows` (B, k, C) into the remembered output and return all of it."""
        return put_rows(self.state.output, self.chosen(), rows)

    def picked(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The tokens to compute, (B, k, C); `hidden_states` itself where the norm has picked them."""
        return hidden_states if self.narrow else take_rows(hidden_states, self.chosen())

    def chosen(self) -> torch.Tensor:
        """Index (B, k) of the tokens to compute; chosen once a step."""
        if self.choose is not None:
            self.index, self.choose = self.choose(), None
        return self.index
