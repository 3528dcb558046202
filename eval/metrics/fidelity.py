"""How near a variant's pictures come to those of the full run, sample by sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from toca.eval.metrics.perceptual import PerceptualDistance

STAGE = "fidelity"
PSNR, SSIM, PERCEPTUAL = "psnr", "ssim", "perceptual"


@dataclass(frozen=True)
class Metric:
    """A column of figures: `sign` is 1 where more is better and -1 where less is."""

    label: str
    digits: int
    sign: int = 1


def metrics_with(perceptual: PerceptualDistance | None) -> dict[str, Metric]:
    """The metrics of a run, by key."""
    metrics = {PSNR: Metric("PSNR dB", 1), SSIM: Metric("SSIM", 3)}
    return metrics if perceptual is None else metrics | {PERCEPTUAL: Metric(perceptual.name, 4, -1)}


def fidelity(
    images: np.ndarray, references: np.ndarray, perceptual: PerceptualDistance | None
) -> dict[str, list[float | None]]:
    """Every metric of every sample.

    Args:
        images, references (`np.ndarray`): (N, frames, height, width, 3), uint8.
        perceptual (`PerceptualDistance`, *optional*): A third metric.

    Returns:
        `dict[str, list]`: N values each. The PSNR of identical samples is `None`: it is no number, and they are
        counted apart. PSNR is that of all frames of a sample together; the others are means over its frames.
    """
    ours, theirs = (torch.from_numpy(array).permute(0, 1, 4, 2, 3) for array in (images, references))
    values = {PSNR: psnr(ours, theirs), SSIM: ssim(ours, theirs)}
    if perceptual is not None:
        distances = perceptual(ours.flatten(0, 1), theirs.flatten(0, 1))
        values[PERCEPTUAL] = distances.double().view(ours.shape[:2]).mean(1)
    return {name: [_number(value) for value in taken.tolist()] for name, taken in values.items()}


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """(N, ...) uint8 to (N,) decibels; infinite where a sample is identical."""
    every = tuple(range(1, images.ndim))
    return peak_signal_noise_ratio(images.double(), references.double(), data_range=255.0, reduction="none", dim=every)


def ssim(images: Tensor, references: Tensor) -> Tensor:
    """(N, frames, 3, height, width) uint8 to (N,), the mean over frames.

    Gaussian window of 11 pixels, sigma 1.5; at the borders the picture is reflected.
    """
    ours, theirs = (part.flatten(0, 1).double() for part in (images, references))
    values = structural_similarity_index_measure(ours, theirs, data_range=255.0, reduction="none")
    return torch.as_tensor(values).view(images.shape[:2]).mean(1)
