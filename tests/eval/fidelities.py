"""The metrics of fidelity that every picture has, as tests compute and head them."""

from __future__ import annotations

import numpy as np

from toca.eval.metrics.fidelity import PSNR, SSIM, perceptual
from toca.eval.metrics.metric import Heading, ToFullRun
from toca.eval.metrics.perceptual import PerceptualDistance
from toca.eval.metrics.registry import metrics


def _of(distance: PerceptualDistance | None) -> list[ToFullRun]:
    plain = [metric for metric in metrics(ToFullRun) if metric.key in (PSNR, SSIM)]
    return plain if distance is None else [*plain, perceptual(distance)]


def metrics_with(distance: PerceptualDistance | None) -> dict[str, Heading]:
    return {metric.key: metric.heading for metric in _of(distance)}


def fidelity(
    images: np.ndarray, references: np.ndarray, distance: PerceptualDistance | None
) -> dict[str, list[float | None]]:
    return {metric.key: metric.compute(images, references) for metric in _of(distance)}
