"""Judges of what pictures look like, and of how the frames of a video follow each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from toca.eval.metrics.distribution import INCEPTION, inception_score
from toca.eval.metrics.extractors import Extractor
from toca.eval.metrics.features import Features, extract, merge
from toca.eval.metrics.judge import Figure, Judge, joined
from toca.eval.metrics.pictures import as_pictures
from toca.eval.metrics.quality import against_real, quality
from toca.eval.metrics.reference import Reference
from toca.eval.metrics.scores import Refusal, SampleScores
from toca.eval.metrics.tags import NO_REFERENCE
from toca.eval.metrics.video import TEMPORAL, temporal_consistency


class PictureJudge(Judge[Features]):
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
        metrics = (*(() if reference is None else against_real()), *(() if classify is None else (INCEPTION,)))
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


class TemporalJudge(Judge[SampleScores | Refusal]):
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
