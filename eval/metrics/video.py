"""Video: does it stay itself from frame to frame, and does it move as the full run's does?

Fidelity frame by frame is in `toca.eval.metrics.fidelity`, whose metrics are means over frames.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from toca.eval.metrics.extractors import Extractor
from toca.eval.metrics.features import extract
from toca.eval.metrics.fidelity import TWO, numbers, psnr
from toca.eval.metrics.metric import Metric, ToFullRun
from toca.eval.metrics.pictures import as_pictures, check_pair, check_samples, levels
from toca.eval.metrics.registry import register
from toca.eval.metrics.scores import Refusal, SampleScores

TEMPORAL, MOTION = "temporal consistency", "motion PSNR"


def temporal_consistency(extractor: Extractor, samples: np.ndarray) -> SampleScores | Refusal:
    """The mean cosine between the features of neighbouring frames; 1 is a still picture.

    It is a quality of the video alone, and rewards stillness: read it beside `motion_psnr`.

    Args:
        extractor (`Extractor`): What sees the frames; its tag is in the result.
        samples (`np.ndarray`): (N, frames, height, width, 3), uint8.

    Raises:
        ValueError: If it is no such array.
    """
    check_samples(samples)
    if still := _still(TEMPORAL, samples):
        return still
    features = extract(extractor, as_pictures(samples)).values.unflatten(0, samples.shape[:2])
    cosines = F.cosine_similarity(features[:, 1:], features[:, :-1], dim=-1)
    return SampleScores(TEMPORAL, tuple(cosines.mean(1).tolist()), extractor.tag)


def motion_psnr(samples: np.ndarray, references: np.ndarray) -> list[float | None] | Refusal:
    """PSNR of what changes from frame to frame, against what changes in the full run's video; no warping, no flow.

    An error that stays in its place does not count, one that flickers counts twice: beside the PSNR of the frames it
    tells which of the two a cache makes.

    Args:
        samples, references (`np.ndarray`): (N, frames, height, width, 3), uint8, or float32 in 0..1.

    Returns:
        `list` or `Refusal`: N values in decibels, against a peak of 255; `None` where all changes are equal. None at
        all for pictures that do not move.

    Raises:
        ValueError: If they are not two such arrays of one shape.
    """
    check_pair(samples, references)
    if still := _still(MOTION, samples):
        return still
    return numbers(psnr(_changes(samples), _changes(references)))


def _changes(samples: np.ndarray) -> Tensor:
    videos = torch.from_numpy(levels(samples))
    return videos[:, 1:] - videos[:, :-1]


def _still(metric: str, samples: np.ndarray) -> Refusal | None:
    frames = samples.shape[1]
    return Refusal(metric, f"{metric} needs at least 2 frames, got {frames}.") if frames < 2 else None


register(Metric(key=TEMPORAL, digits=4, sign=1, level="sample", place=190))
register(
    ToFullRun(
        key="motion_psnr", label=MOTION, unit="dB", digits=1, sign=1, place=50, compute=motion_psnr, videos=True,
        at_once=TWO, floats=True,
    )  # fmt: skip
)
