"""How near a variant's pictures come to those of the full run, sample by sample.

Both are given as they were before they were rounded to 8 bits, where the pipeline hands that out, or as 8-bit files
have them. Two runs that differ by less than a rounding are identical in 8 bits, or near 59 dB, whatever they were.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from toca.eval.metrics.metric import Metric, ToFullRun
from toca.eval.metrics.perceptual import PerceptualDistance
from toca.eval.metrics.pictures import check_pair, levels
from toca.eval.metrics.registry import register

PSNR, SSIM, PERCEPTUAL = "psnr", "ssim", "perceptual"
TWO = 2
"""Samples at once: the filter of SSIM takes more than a gigabyte for each picture of 512 pixels."""


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """(N, ...) on the scale of 8 bits to (N,) decibels; infinite where a sample is identical."""
    every = tuple(range(1, images.ndim))
    return peak_signal_noise_ratio(images.double(), references.double(), data_range=255.0, reduction="none", dim=every)


def ssim(images: Tensor, references: Tensor) -> Tensor:
    """(N, frames, 3, height, width) on the scale of 8 bits to (N,), the mean over frames.

    Gaussian window of 11 pixels, sigma 1.5; at the borders the picture is reflected.
    """
    ours, theirs = (part.flatten(0, 1).double() for part in (images, references))
    values = structural_similarity_index_measure(ours, theirs, data_range=255.0, reduction="none")
    return torch.as_tensor(values).view(images.shape[:2]).mean(1)


def short_of_one(value: float) -> float:
    """What is lost by a similarity that is 1 of identical samples."""
    return 1 - value


def numbers(values: Tensor) -> list[float | None]:
    """(N,) to N numbers, `None` for what is none: identical samples have no PSNR, and are counted apart."""
    return [value if np.isfinite(value) else None for value in values.tolist()]


def _psnr(samples: np.ndarray, references: np.ndarray) -> list[float | None]:
    """Of all frames of a sample together."""
    return numbers(psnr(*_channels_first(samples, references)))


def _ssim(samples: np.ndarray, references: np.ndarray) -> list[float | None]:
    return numbers(ssim(*_channels_first(samples, references)))


def _distance(of: PerceptualDistance, samples: np.ndarray, references: np.ndarray) -> list[float | None]:
    """The mean over frames."""
    check_pair(samples, references)
    frames = (torch.from_numpy(np.ascontiguousarray(each)).flatten(0, 1) for each in (samples, references))
    distances = of(*(each.permute(0, 3, 1, 2) for each in frames))
    return numbers(distances.double().view(samples.shape[:2]).mean(1))


def _channels_first(samples: np.ndarray, references: np.ndarray) -> tuple[Tensor, Tensor]:
    check_pair(samples, references)
    ours, theirs = (torch.from_numpy(levels(array)).permute(0, 1, 4, 2, 3) for array in (samples, references))
    return ours, theirs


def perceptual(distance: PerceptualDistance) -> ToFullRun:
    """The metric that a network makes: its name is the network's."""
    of = partial(_distance, distance)
    return ToFullRun(
        key=PERCEPTUAL, label=distance.name, digits=_LOOKS.digits, sign=_LOOKS.sign, place=_LOOKS.place, compute=of,
        source=distance.source, floats=True,
    )  # fmt: skip


_TWO_FLOATS: dict[str, Any] = {"at_once": TWO, "floats": True}
register(ToFullRun(key=PSNR, label="PSNR", unit="dB", digits=1, sign=1, place=10, compute=_psnr, **_TWO_FLOATS))
register(
    ToFullRun(key=SSIM, label="SSIM", digits=3, sign=1, place=20, compute=_ssim, lost=short_of_one, **_TWO_FLOATS)
)
_LOOKS = register(Metric(key=PERCEPTUAL, digits=4, sign=-1, level="sample", place=30, lost=float))
