"""CLIP score: does a picture show what its prompt says?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from torch import Tensor

from toca.eval.metrics.metric import Metric
from toca.eval.metrics.pictures import as_pictures, check_prompts
from toca.eval.metrics.registry import register
from toca.eval.metrics.scores import SampleScores
from toca.eval.metrics.tags import ExtractorTag

CLIP_SCORE = "CLIP score"

register(Metric(key=CLIP_SCORE, digits=2, sign=1, level="sample", place=170))


class ClipModel(Protocol):
    """A model that sees and reads: `AnytorchClip` or `TransformersClip`."""

    tag: ExtractorTag

    def pictures(self, images: Tensor) -> Tensor:
        """(N, 3, height, width), uint8, to (N, dimension) of length 1."""

    def prompts(self, texts: list[str]) -> tuple[Tensor, int]:
        """N texts to (N, dimension) of length 1; and how many were too long and were cut."""


def clip_score(model: ClipModel, samples: np.ndarray, prompts: Sequence[str]) -> SampleScores:
    """`100 max(cos, 0)` between picture and prompt (Hessel et al., arXiv 2104.08718, with the scale that is usual).

    Args:
        model (`ClipModel`): The judge; its name and weights are in the tag.
        samples (`np.ndarray`): (N, frames, height, width, 3), uint8; a video has the mean of its frames.
        prompts (`Sequence[str]`): One a sample.

    Raises:
        ValueError: If there is not one prompt for each sample, or the samples are no such array.
    """
    check_prompts(CLIP_SCORE, samples, prompts)
    pictures = model.pictures(as_pictures(samples)).unflatten(0, samples.shape[:2])
    texts = list(dict.fromkeys(prompts))
    vectors, truncated = model.prompts(texts)
    wanted = vectors[[texts.index(prompt) for prompt in prompts]]
    cosines = (pictures * wanted[:, None]).sum(-1)
    values = 100 * cosines.clamp(min=0).mean(1)
    return SampleScores(CLIP_SCORE, tuple(values.tolist()), model.tag, truncated)
