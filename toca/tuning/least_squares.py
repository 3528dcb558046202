"""What of some vectors makes up another one best."""

from __future__ import annotations

import torch

RIDGE = 1e-9
"""Added to what is solved, whose diagonal is 1: vectors that are parallel share a weight."""


def least_squares(basis: torch.Tensor, wanted: torch.Tensor) -> list[float]:
    """The weights of the rows of `basis` (n, N) whose sum comes nearest to `wanted` (N,), both float64."""
    gram = basis @ basis.T
    scale = gram.diagonal().clamp_min(1e-300).sqrt()
    gram = gram / (scale[:, None] * scale) + RIDGE * torch.eye(len(basis), dtype=gram.dtype, device=gram.device)
    found: list[float] = (torch.linalg.solve(gram, basis @ wanted / scale) / scale).tolist()
    return found
