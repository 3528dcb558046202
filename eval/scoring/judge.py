"""Judges: each scores the samples of one variant, by one metric or by several that need the same features.

They see the samples a chunk at a time, and make their figures of what they found in all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toca.eval.metrics.clip_score import CLIP_SCORE, ClipModel, clip_score
from toca.eval.metrics.distribution import FID, FVD, INCEPTION, KID, PRECISION, RECALL, fid, inception_score
from toca.eval.metrics.extractors import Extractor
from toca.eval.metrics.features import Features, extract, merge
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
    def look(self, samples: np.ndarray, place: slice, prompts: Sequence[str]) -> Any:
        """What `figures` needs of some samples; the pictures themselves are not held on to.

        Args:
            samples (`np.ndarray`): (n, frames, height, width, 3), uint8.
            place (`slice`): Which of the run's samples they are, with a start and a stop.
            prompts (`Sequence[str]`): One for each sample of the whole run.
        """

    @abstractmethod
    def figures(self, parts: Sequence[Any], prompts: Sequence[str]) -> list[Figure]:
        """A figure for each of `metrics`, in their order.

        Args:
            parts (`Sequence`): What `look` returned for all samples, in their order.
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

    def look(self, samples: np.ndarray, place: slice, prompts: Sequence[str]) -> Features:
        frames = samples.shape[1]
        return extract(self._extractor, as_pictures(samples), range(place.start * frames, place.stop * frames))

    def figures(self, parts: Sequence[Features], prompts: Sequence[str]) -> list[Figure]:
        features = merge(parts)
        found: list[Figure] = [] if self._real is None else [*quality(features, self._real)]
        if self._classify is not None:
            found.append(inception_score(self._classify(features.values), features.tag))
        return found


class TemporalJudge(Judge):
    """Temporal consistency of videos."""

    def __init__(self, extractor: Extractor) -> None:
        super().__init__((TEMPORAL,), extractor.tag)
        self._extractor = extractor

    def look(self, samples: np.ndarray, place: slice, prompts: Sequence[str]) -> SampleScores | Refusal:
        return temporal_consistency(self._extractor, samples)

    def figures(self, parts: Sequence[SampleScores | Refusal], prompts: Sequence[str]) -> list[Figure]:
        # A refusal is by the number of frames, which all chunks share.
        scores = [part for part in parts if isinstance(part, SampleScores)]
        return [joined(scores) if scores else parts[0]]


class ClipJudge(Judge):
    """CLIP score; the classes of a class-conditional pipeline are its prompts."""

    def __init__(self, model: ClipModel, name: str) -> None:
        super().__init__((CLIP_SCORE,), model.tag, name=name)
        self._model = Reader(model)

    def look(self, samples: np.ndarray, place: slice, prompts: Sequence[str]) -> SampleScores:
        self._model.read(prompts)
        return clip_score(self._model, samples, prompts[place])

    def figures(self, parts: Sequence[SampleScores], prompts: Sequence[str]) -> list[Figure]:
        return [joined(parts)]


class Reader:
    """A CLIP that reads the prompts of a run once and together: how many are cut is of the whole run, and a vector
    may depend in the last bit on who else is in a batch."""

    def __init__(self, model: ClipModel) -> None:
        self.tag, self._model = model.tag, model
        self._vectors: dict[str, Tensor] = {}
        self._truncated = 0

    def read(self, prompts: Sequence[str]) -> None:
        """Read the prompts of a run, unless they are those that were read last."""
        texts = list(dict.fromkeys(prompts))
        if texts != list(self._vectors):
            vectors, self._truncated = self._model.prompts(texts)
            self._vectors = dict(zip(texts, vectors, strict=True))

    def pictures(self, images: Tensor) -> Tensor:
        """As the model's."""
        return self._model.pictures(images)

    def prompts(self, texts: list[str]) -> tuple[Tensor, int]:
        """The vectors of some prompts of the run; and how many of all of them were too long and were cut."""
        return torch.stack([self._vectors[text] for text in texts]), self._truncated


def joined(parts: Sequence[SampleScores]) -> SampleScores:
    """The scores of all samples; all else is that of the first part."""
    return replace(parts[0], values=tuple(chain.from_iterable(part.values for part in parts)))


class RewardJudge(Judge):
    """ImageReward."""

    def __init__(self, model: ImageReward) -> None:
        super().__init__((IMAGE_REWARD,), model.tag)
        self._model = model

    def look(self, samples: np.ndarray, place: slice, prompts: Sequence[str]) -> list[SampleScores]:
        # The model sees one picture at a time anyway; apart, each sample tells whether its own prompt was cut.
        pairs = zip(samples, prompts[place], strict=True)
        return [self._model(sample[None], [prompt]) for sample, prompt in pairs]

    def figures(self, parts: Sequence[list[SampleScores]], prompts: Sequence[str]) -> list[Figure]:
        scores = list(chain.from_iterable(parts))
        cut = {prompt for prompt, score in zip(prompts, scores, strict=True) if score.truncated}
        return [replace(joined(scores), truncated=len(cut))]


class VideoJudge(Judge):
    """FVD."""

    def __init__(self, extractor: VideoExtractor, reference: Reference) -> None:
        super().__init__((FVD,), extractor.tag, reference.sha256)
        self._extractor, self._real = extractor, reference

    def look(self, samples: np.ndarray, place: slice, prompts: Sequence[str]) -> Features:
        return extract(self._extractor, as_videos(samples), range(place.start, place.stop), batch=VIDEOS)

    def figures(self, parts: Sequence[Features], prompts: Sequence[str]) -> list[Figure]:
        return [fid(Moments.of(merge(parts)), self._real, metric=FVD)]
