"""How the channels of a feature move over a few values, and which of them move alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .kmeans import k_means

TINY = 1e-20


def channel_courses(value: torch.Tensor, samples: int) -> torch.Tensor:
    """(samples, numbers of a channel, C), at least float32.

    Args:
        value (`torch.Tensor`): (rows, tokens, C), the rows of a sample side by side; or a model's output (B, C, ...).
        samples (`int`): How many there are.
    """
    wide = value.to(torch.promote_types(value.dtype, torch.float32))
    return (wide.movedim(1, -1) if value.ndim > 3 else wide).reshape(
        samples, -1, wide.shape[1 if value.ndim > 3 else -1]
    )


def descriptors(courses: Sequence[torch.Tensor]) -> torch.Tensor:
    """(samples, C, 6): of each channel the norms of its first and second differences and of itself, its third and
    second differences over the first, and the flatness of its spectrum over the values; in logarithms, each with mean
    0 and deviation 1 over the channels.

    Args:
        courses (`Sequence[torch.Tensor]`): At least four of (samples, numbers, C), latest first.
    """
    first = courses[0] - courses[1]
    second = first - (courses[1] - courses[2])
    third = second - (courses[1] - 2 * courses[2] + courses[3])
    moved, bent, jerked, size = (
        each.square().mean(dim=1).sqrt() + TINY for each in (first, second, third, courses[0])
    )
    power = torch.fft.rfft(torch.stack(list(courses)), dim=0)[1:].abs().square().mean(dim=2) + TINY
    flatness = power.log().mean(dim=0).exp() / power.mean(dim=0)
    each = torch.stack([moved, bent, size, jerked / moved, bent / moved, flatness], dim=-1).log()
    each = each - each.mean(dim=1, keepdim=True)
    return (each / (each.square().mean(dim=1, keepdim=True).sqrt() + TINY)).nan_to_num(0.0, 0.0, 0.0)


@torch.library.custom_op("toca::channel_clusters", mutates_args=(), schema="(Tensor points, int clusters) -> Tensor")
def channel_clusters(points: torch.Tensor, clusters: int) -> torch.Tensor:
    """`k_means` of the channels, (samples, C), int64. An operator of its own, so that what few products it takes are
    not counted where a model's are."""
    return k_means(points, clusters)


@channel_clusters.register_fake
def _(points: torch.Tensor, clusters: int) -> torch.Tensor:
    return points.new_empty(points.shape[:2], dtype=torch.int64)
