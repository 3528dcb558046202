"""How to fill: what a site returns for the tokens it did not compute. Here: what it last returned for them."""

from __future__ import annotations

from typing import Any

import torch

from .kernels.rows import put_rows


class Handle:
    """The frozen decision of one site for the running call. It sits on the module (or attention processor) and is
    all that a module's forward looks at, so that `torch.compile` guards on it and nothing else.

    Attributes:
        action (`str`): `"compute"`, `"partial"` or `"reuse"`.
        keep (`bool`): Whether a computed output is remembered.
        index (`torch.Tensor` or `None`): Flat row indices (n,) of the tokens a partial action computes.
        choose (`Callable` or `None`): Makes the index when its turn comes, where it could not be made before.
        measure (`Callable` or `None`): `(projected, share) -> statistic`, where attention is measured.
        share (`float`): Weight of the measured map, see `attention_entropy`.
        state (`SiteState`): What the site remembers.
        dense (`bool`): Whether a block's outputs are laid out like every other block's, so that one compiled graph
            serves all of them.
    """

    def __init__(self):
        self.state: Any = None
        self.dense = False
        self.bypass()

    def bypass(self) -> None:
        """Compute, remember nothing, measure nothing."""
        self.action, self.keep, self.measure, self.share = "compute", False, None, 1.0
        self.index = self.choose = None

    def kept(self, output):
        """Remember `output` (a tensor or a tuple of tensors) and return it."""
        if self.keep:
            whole = isinstance(output, torch.Tensor)
            self.state.output = output.contiguous() if whole else tuple(part.contiguous() for part in output)
        return output

    def refreshed(self, index: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Write computed `rows` (n, C) into the remembered output at flat `index` (n,) and return all of it."""
        return put_rows(self.state.output, index, rows)

    def chosen(self) -> torch.Tensor:
        """Flat index of the tokens to compute."""
        return self.index if self.choose is None else self.choose()
