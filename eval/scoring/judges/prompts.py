"""The judge of whether pictures show what their prompts say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from toca.eval.metrics.clip_score import CLIP_SCORE, ClipModel, clip_score
from toca.eval.metrics.judge import Figure, Judge, joined
from toca.eval.metrics.scores import SampleScores


class ClipJudge(Judge[SampleScores]):
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
