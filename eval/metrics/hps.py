"""HPS v2.1 (Wu et al., arXiv 2306.09341) through its own package: what people would prefer, in 0..1.

`pip install hpsv2`; its weights, 4 GB, are downloaded once. It is no dependency of toca, for it pins an old pytest and
protobuf: install it into an environment of its own, or by `--no-deps` beside `timm ftfy braceexpand webdataset clint`.

Not tried with the real weights: the call is the one of version 1.2.0 of the package, to which a test holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from huggingface_hub import hf_hub_download
from PIL import Image

from toca.eval.metrics.judge import EachSample
from toca.eval.metrics.metric import Asked
from toca.eval.metrics.optional import needed
from toca.eval.metrics.pictures import check_prompts, check_samples
from toca.eval.metrics.registry import register
from toca.eval.metrics.scores import SampleScores
from toca.eval.metrics.tags import ExtractorTag, weights_digest

HPS = "HPSv2"
REPOSITORY, VERSION = "xswu/HPSv2", "v2.1"
ARCHITECTURE = "ViT-H-14"


class HumanPreference:
    """The judge. The package's own `score` reads its weights anew with every call, so this keeps its model.

    Args:
        device (`torch.device`): Where to compute.
        weights (`str`, *optional*): A file of weights; those of `VERSION` by default.

    Raises:
        ImportError: If the package is missing or does not import.
    """

    def __init__(self, device: torch.device | str = "cpu", weights: str | None = None) -> None:
        package: Any = needed("hpsv2.img_score", "HPSv2", "hpsv2")
        package.initialize_model()
        self._device = torch.device(device)
        self._model, self._prepared = package.model_dict["model"], package.model_dict["preprocess_val"]
        path = weights or hf_hub_download(REPOSITORY, package.hps_version_map[VERSION])
        self._model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["state_dict"])
        self._model.to(self._device).eval()
        self._tokens = package.get_tokenizer(ARCHITECTURE)
        resize = "bicubic, longer side to 224, padded, by the package"
        self.tag = ExtractorTag(f"HPS {VERSION}", weights_digest(self._model), resize, 1)

    def __call__(self, samples: np.ndarray, prompts: Sequence[str]) -> SampleScores:
        """Score each sample.

        Args:
            samples (`np.ndarray`): (N, frames, height, width, 3), uint8; a video has the mean of its frames.
            prompts (`Sequence[str]`): One a sample; the tokenizer cuts those of more than 77 tokens.

        Raises:
            ValueError: If there is not one prompt for each sample, or the samples are no such array.
        """
        check_prompts(HPS, samples, prompts)
        check_samples(samples)
        values = [self._mean(video, prompt) for video, prompt in zip(samples, prompts, strict=True)]
        return SampleScores(HPS, tuple(values), self.tag)

    @torch.no_grad()
    def _mean(self, frames: np.ndarray, prompt: str) -> float:
        pictures = torch.stack([self._prepared(Image.fromarray(frame)) for frame in frames]).to(self._device)
        seen = self._model(pictures, self._tokens([prompt]).to(self._device))
        return float((seen["image_features"] @ seen["text_features"].T).mean())


def _judge(device: torch.device) -> EachSample:
    return EachSample(HPS, HumanPreference(device))


register(Asked(key=HPS, digits=4, sign=1, level="sample", place=185, make=_judge))
