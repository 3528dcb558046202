"""The judge of how far videos lie from real ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toca.eval.metrics.distribution import FVD, fid
from toca.eval.metrics.features import Features, extract, merge
from toca.eval.metrics.judge import Figure, Judge
from toca.eval.metrics.moments import Moments
from toca.eval.metrics.reference import Reference
from toca.eval.metrics.video_features import VideoExtractor, as_videos

VIDEOS = 8
"""How many an I3D sees at a time, for memory."""


class VideoJudge(Judge[Features]):
    """FVD."""

    def __init__(self, extractor: VideoExtractor, reference: Reference) -> None:
        super().__init__((FVD,), extractor.tag, reference.sha256)
        self._extractor, self._real = extractor, reference

    def look(self, samples: np.ndarray, place: slice, prompts: Sequence[str]) -> Features:
        return extract(self._extractor, as_videos(samples), range(place.start, place.stop), batch=VIDEOS)

    def figures(self, parts: Sequence[Features], prompts: Sequence[str]) -> list[Figure]:
        return [fid(Moments.of(merge(parts)), self._real, metric=FVD)]
