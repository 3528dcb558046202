"""Multi-scale SSIM: a fidelity to the full run, for pictures that are large enough."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from toca.eval.metrics.fidelity import short_of_one
from toca.eval.metrics.metric import ToFullRun
from toca.eval.metrics.pictures import check_pair, levels
from toca.eval.metrics.registry import register
from toca.eval.metrics.scores import Refusal

MS_SSIM = "MS-SSIM"
LEAST_SIDE = 176
"""Pixels: torchmetrics wants 16 windows of 11."""


def ms_ssim(samples: np.ndarray, references: np.ndarray) -> list[float | None] | Refusal:
    """MS-SSIM (Wang et al., 2003) of each sample, by torchmetrics; more is better, and 1, to 1e-5, is identical.

    Args:
        samples, references (`np.ndarray`): (N, frames, height, width, 3), uint8, or float32 in 0..1.

    Returns:
        `list[float]` or `Refusal`: N values, means over the frames; none for pictures below 176 pixels a side.

    Raises:
        ValueError: If they are not two such arrays of one shape.
    """
    check_pair(samples, references)
    height, width = samples.shape[2:4]
    if min(height, width) < LEAST_SIDE:
        why = "the coarsest of its five scales would be smaller than its window"
        return Refusal(MS_SSIM, f"{MS_SSIM} is not shown below {LEAST_SIDE} pixels, got {width} x {height}: {why}.")
    pairs = zip(_frames(samples), _frames(references), strict=True)
    values = torch.stack([_of_one(ours[None], theirs[None]) for ours, theirs in pairs])
    return values.view(samples.shape[:2]).mean(1).tolist()


def _frames(samples: np.ndarray) -> Tensor:
    """All frames as pictures of their own, (N * frames, 3, height, width)."""
    return torch.from_numpy(levels(samples)).flatten(0, 1).permute(0, 3, 1, 2)


def _of_one(ours: Tensor, theirs: Tensor) -> Tensor:
    """One picture at a time, for memory; in float32, for its filters take several times as long in float64."""
    return multiscale_structural_similarity_index_measure(ours.float(), theirs.float(), data_range=255.0)


register(
    ToFullRun(
        key="ms_ssim", label=MS_SSIM, digits=3, sign=1, place=40, compute=ms_ssim, lost=short_of_one, at_once=1,
        floats=True,
    )
)  # fmt: skip
