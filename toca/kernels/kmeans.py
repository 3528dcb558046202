"""K-means of the tokens of each sample, in plain torch."""

from __future__ import annotations

import torch

ITERATIONS = 10
"""A fixed number, so that no step waits for the device to say whether the clusters have settled."""


def k_means(points: torch.Tensor, clusters: int, iterations: int = ITERATIONS) -> torch.Tensor:
    """Lloyd's algorithm for each row by itself, starting from evenly spaced tokens: the same each time.

    Args:
        points (`torch.Tensor`): (rows, T, C).
        clusters (`int`): K; at most T. A cluster that loses all its members keeps its centre and may stay empty.
        iterations (`int`, defaults to 10): How often the centres move.

    Returns:
        `torch.Tensor`: (rows, T), int64: the cluster of each token, from 0 to K - 1.
    """
    points = points.float()
    first = torch.arange(clusters, device=points.device) * points.shape[1] // clusters
    centres = points.index_select(1, first)
    for _ in range(iterations):
        # As a product with 0 and 1: sums by scattered addition would differ from run to run on a GPU.
        members = one_hot(_nearest(points, centres), clusters, points.dtype)
        sizes = members.sum(dim=1)[..., None]
        means = members.transpose(1, 2) @ points / sizes.clamp(min=1)
        centres = torch.where(sizes > 0, means, centres)
    return _nearest(points, centres)


def one_hot(labels: torch.Tensor, classes: int, dtype: torch.dtype) -> torch.Tensor:
    """(..., classes): 1 at the label, else 0. That of `torch.nn.functional` looks at the labels first."""
    return (labels[..., None] == torch.arange(classes, device=labels.device)).to(dtype)


def _nearest(points: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Index (rows, T) of the centre that is nearest; the point's own norm does not matter to that."""
    squares = centres.square().sum(dim=-1)[:, None]
    return torch.baddbmm(squares, points, centres.transpose(1, 2), alpha=-2).argmin(dim=-1)


def k_means_flops(rows: int, tokens: int, width: int, clusters: int, iterations: int = ITERATIONS) -> int:
    """FLOPs of the matrix products in `k_means`."""
    return (2 * iterations + 1) * 2 * rows * tokens * width * clusters
