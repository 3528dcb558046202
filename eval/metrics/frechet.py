"""The Fréchet distance between two Gaussians."""

from __future__ import annotations

import torch
from torch import Tensor

from toca.eval.metrics.moments import Gaussian


def frechet_distance(ours: Gaussian, theirs: Gaussian) -> float:
    """`|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))` (Dowson and Landau, 1982), in float64.

    The eigenvalues of `C1 C2` are taken of the symmetric matrix `C1^(1/2) C2 C1^(1/2)`, which has the same ones: they
    are real whatever rounding does, which a square root of the product itself does not promise.
    """
    root = _root(ours.covariance)
    common = torch.linalg.eigvalsh(root @ theirs.covariance @ root).clamp(min=0).sqrt().sum()
    spread = ours.covariance.trace() + theirs.covariance.trace() - 2 * common
    return float((ours.mean - theirs.mean).square().sum() + spread)


def _root(matrix: Tensor) -> Tensor:
    """The square root of a symmetric matrix without negative eigenvalues, but for rounding."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T
