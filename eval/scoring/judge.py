"""Judges: each scores the samples of one variant, by one metric or by several that need the same features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from toca.eval.metrics.clip_score import CLIP_SCORE, ClipModel, clip_score
from toca.eval.metrics.distribution import FID, FVD, INCEPTION, KID, PRECISION, RECALL, fid, inception_score
from toca.eval.metrics.extractors import Extractor
from toca.eval.metrics.features import extract
from toca.eval.metrics.image_reward import IMAGE_REWARD, ImageReward
from toca.eval.metrics.moments import Moments
from toca.eval.metrics.pictures import as_pictures
from toca.eval.metrics.quality import quality
from toca.eval.metrics.reference import Reference
from toca.eval.metrics.scores import Refusal, SampleScores, Score
from toca.eval.metrics.tags import NO_REFERENCE, ExtractorTag
from toca.eval.metrics.video import TEMPORAL, temporal_consistency
from toca.eval.metrics.video_features import VideoExtractor, as_videos

Figure = Score | SampleScores | Refusal

AGAINST_REAL = (FID, KID, PRECISION, RECALL)
"""What compares pictures with real ones, in the order of `quality`."""
VIDEOS = 8
"""How many an I3D sees at a time, for memory."""


class Judge(ABC):
    """Scores samples.

    Args:
        metrics (`tuple[str, ...]`): Which figures it gives.
        tag (`ExtractorTag`): What it sees with.
        reference (`str`): SHA-256 of the file it compares with; "none" where there is none.
        name (`str`): What tells it from others that give the same figure.
        note (`str`): What must be known of its figures.
    """

    def __init__(
        self,
        metrics: tuple[str, ...],
        tag: ExtractorTag,
        reference: str = NO_REFERENCE,
        name: str = "",
        note: str = "",
    ) -> None:
        self.metrics, self.tag, self.reference = metrics, tag, reference
        self.name, self.note = name, note

    def describe(self) -> dict[str, Any]:
        """All that its figures depend on beside the samples, as plain data."""
        return {"tag": asdict(self.tag), "reference": self.reference}

    @abstractmethod
    def __call__(self, samples: np.ndarray, prompts: Sequence[str]) -> list[Figure]:
        """A figure for each of `metrics`, in their order.

        Args:
            samples (`np.ndarray`): (N, frames, height, width, 3), uint8.
            prompts (`Sequence[str]`): One a sample.
        """


class PictureJudge(Judge):
    """FID, KID, precision, recall and Inception Score of pictures, or of the frames of all videos, from features that
    are extracted once.

    Args:
        extractor (`Extractor`): What makes the features.
        reference (`Reference`, *optional*): Of real pictures; without it only Inception Score is left.
        classify (`Callable`, *optional*): Features to the logits of Inception Score; none without it.
        frames (`int`): Of a sample.
    """

    def __init__(
        self,
        extractor: Extractor,
        reference: Reference | None,
        classify: Callable[[Tensor], Tensor] | None,
        frames: int,
    ) -> None:
        metrics = (*(() if reference is None else AGAINST_REAL), *(() if classify is None else (INCEPTION,)))
        note = f"n counts frames, {frames} of each video, which are not independent." if frames > 1 else ""
        found = NO_REFERENCE if reference is None else reference.sha256
        super().__init__(metrics, extractor.tag, found, note=note)
        self._extractor, self._real, self._classify = extractor, reference, classify

    def __call__(self, samples: np.ndarray, prompts: Sequence[str]) -> list[Figure]:
        features = extract(self._extractor, as_pictures(samples))
        found: list[Figure] = [] if self._real is None else [*quality(features, self._real)]
        if self._classify is not None:
            found.append(inception_score(self._classify(features.values), features.tag))
        return found


class TemporalJudge(Judge):
    """Temporal consistency of videos."""

    def __init__(self, extractor: Extractor) -> None:
        super().__init__((TEMPORAL,), extractor.tag)
        self._extractor = extractor

    def __call__(self, samples: np.ndarray, prompts: Sequence[str]) -> list[Figure]:
        return [temporal_consistency(self._extractor, samples)]


class ClipJudge(Judge):
    """CLIP score; the classes of a class-conditional pipeline are its prompts."""

    def __init__(self, model: ClipModel, name: str) -> None:
        super().__init__((CLIP_SCORE,), model.tag, name=name)
        self._model = model

    def __call__(self, samples: np.ndarray, prompts: Sequence[str]) -> list[Figure]:
        return [clip_score(self._model, samples, prompts)]


class RewardJudge(Judge):
    """ImageReward."""

    def __init__(self, model: ImageReward) -> None:
        super().__init__((IMAGE_REWARD,), model.tag)
        self._model = model

    def __call__(self, samples: np.ndarray, prompts: Sequence[str]) -> list[Figure]:
        return [self._model(samples, prompts)]


class VideoJudge(Judge):
    """FVD."""

    def __init__(self, extractor: VideoExtractor, reference: Reference) -> None:
        super().__init__((FVD,), extractor.tag, reference.sha256)
        self._extractor, self._real = extractor, reference

    def __call__(self, samples: np.ndarray, prompts: Sequence[str]) -> list[Figure]:
        features = extract(self._extractor, as_videos(samples), batch=VIDEOS)
        return [fid(Moments.of(features), self._real, metric=FVD)]
