"""ImageReward (Xu et al., arXiv 2304.05977) through its own package: what people would prefer.

`pip install image-reward`; its weights are downloaded once. It is no dependency of toca, for it wants an old
transformers: install it into an environment of its own where it does not import.

The scores of pictures have a standard deviation of about 1: at 200 samples the standard error of a mean is 0.07, more
than most published differences. Look at paired intervals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from toca.eval.metrics.judge import EachSample
from toca.eval.metrics.metric import Asked
from toca.eval.metrics.optional import needed
from toca.eval.metrics.pictures import check_prompts, check_samples
from toca.eval.metrics.registry import register
from toca.eval.metrics.scores import SampleScores
from toca.eval.metrics.tags import ExtractorTag, weights_digest

IMAGE_REWARD = "ImageReward"
MODEL = "ImageReward-v1.0"
MAX_TOKENS = 35
"""Where the package cuts prompts."""


class ImageReward:
    """The judge.

    Args:
        source (`str`): A name that the package knows, or a file of weights.
        device (`torch.device`): Where to compute.

    Raises:
        ImportError: If the package is missing or does not import.
    """

    def __init__(self, source: str = MODEL, device: torch.device | str = "cpu") -> None:
        self._model = needed("ImageReward", "ImageReward", "image-reward").load(source, device=str(device))
        resize = "bicubic, shorter side to 224, centre crop, by PIL"
        self.tag = ExtractorTag(source, weights_digest(self._model), resize, 1)

    def __call__(self, samples: np.ndarray, prompts: Sequence[str]) -> SampleScores:
        """Score each sample.

        Args:
            samples (`np.ndarray`): (N, frames, height, width, 3), uint8; a video has the mean of its frames.
            prompts (`Sequence[str]`): One a sample.

        Raises:
            ValueError: If there is not one prompt for each sample, or the samples are no such array.
        """
        check_prompts(IMAGE_REWARD, samples, prompts)
        check_samples(samples)
        values = [self._mean(video, prompt) for video, prompt in zip(samples, prompts, strict=True)]
        tokens = [self._model.blip.tokenizer(text)["input_ids"] for text in dict.fromkeys(prompts)]
        truncated = sum(len(ids) > MAX_TOKENS for ids in tokens)
        return SampleScores(IMAGE_REWARD, tuple(values), self.tag, truncated)

    @torch.no_grad()
    def _mean(self, frames: np.ndarray, prompt: str) -> float:
        return float(np.mean([self._model.score(prompt, Image.fromarray(frame)) for frame in frames]))


def _judge(device: torch.device) -> EachSample:
    return EachSample(IMAGE_REWARD, ImageReward(device=device))


register(Asked(key=IMAGE_REWARD, digits=2, sign=1, level="sample", place=180, make=_judge))
