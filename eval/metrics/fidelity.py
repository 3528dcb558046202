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
from torch.nn.functional import pad
from torchmetrics.functional.image import peak_signal_noise_ratio

from toca.eval.metrics.metric import Metric, ToFullRun
from toca.eval.metrics.perceptual import PerceptualDistance
from toca.eval.metrics.pictures import check_pair, levels
from toca.eval.metrics.registry import register

PSNR, SSIM, PERCEPTUAL = "psnr", "ssim", "perceptual"
TWO = 2
"""Samples at once, for memory: SSIM holds 15 planes of each picture in float64."""
WINDOW, SIGMA = 11, 1.5


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """(N, ...) on the scale of 8 bits to (N,) decibels; infinite where a sample is identical."""
    every = tuple(range(1, images.ndim))
    return peak_signal_noise_ratio(images.double(), references.double(), data_range=255.0, reduction="none", dim=every)


def ssim(images: Tensor, references: Tensor) -> Tensor:
    """(N, frames, 3, height, width) on the scale of 8 bits to (N,), the mean over frames.

    Gaussian window of 11 pixels, sigma 1.5; at the borders the picture is reflected. As torchmetrics has it, whose
    filter of 11 x 11 pixels takes 2.6 seconds and more than a gigabyte for a picture of 512 pixels in float64: this
    one goes over the rows and then over the columns, which is the same, to a rounding, in a fiftieth of the time.
    """
    edge = (WINDOW // 2,) * 4
    ours, theirs = (pad(part.flatten(0, 1).double(), edge, mode="reflect") for part in (images, references))
    ours_mean, theirs_mean, ours_square, theirs_square, product = (
        _blurred(plane) for plane in (ours, theirs, ours * ours, theirs * theirs, ours * theirs)
    )
    variances = (ours_square - ours_mean**2).clamp(min=0) + (theirs_square - theirs_mean**2).clamp(min=0)
    covariance = product - ours_mean * theirs_mean
    small, smaller = (0.03 * 255) ** 2, (0.01 * 255) ** 2
    values = (2 * ours_mean * theirs_mean + smaller) * (2 * covariance + small)
    values /= (ours_mean**2 + theirs_mean**2 + smaller) * (variances + small)
    return values.flatten(1).mean(1).view(images.shape[:2]).mean(1)


def _blurred(planes: Tensor) -> Tensor:
    """(..., height, width) under the Gaussian window, without the pixels whose window would not fit."""
    at = torch.arange(WINDOW, dtype=planes.dtype, device=planes.device) - WINDOW // 2
    bell = torch.exp(-(at**2) / (2 * SIGMA**2))
    weights = (bell / bell.sum()).tolist()
    for axis in (-1, -2):
        length = planes.shape[axis] - WINDOW + 1
        total = planes.narrow(axis, 0, length) * weights[0]
        for place, weight in enumerate(weights[1:], 1):
            total.add_(planes.narrow(axis, place, length), alpha=weight)
        planes = total
    return planes


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
