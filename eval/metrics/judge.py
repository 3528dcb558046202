"""A judge scores the samples of one variant, by one metric or by several that need the same features.

It sees the samples a chunk at a time, and makes its figures of what it found in all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import chain
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np

from toca.eval.metrics.scores import Refusal, SampleScores, SetScore
from toca.eval.metrics.tags import NO_REFERENCE, ExtractorTag

Figure: TypeAlias = SetScore | SampleScores | Refusal


Looked = TypeVar("Looked")
"""What a judge finds in a chunk of samples."""


class Judge(ABC, Generic[Looked]):
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
    def look(self, samples: np.ndarray, place: slice, prompts: Sequence[str]) -> Looked:
        """What `figures` needs of some samples; the pictures themselves are not held on to.

        Args:
            samples (`np.ndarray`): (n, frames, height, width, 3), uint8.
            place (`slice`): Which of the run's samples they are, with a start and a stop.
            prompts (`Sequence[str]`): One for each sample of the whole run.
        """

    @abstractmethod
    def figures(self, parts: Sequence[Looked], prompts: Sequence[str]) -> list[Figure]:
        """A figure for each of `metrics`, in their order.

        Args:
            parts (`Sequence`): What `look` returned for all samples, in their order.
            prompts (`Sequence[str]`): One a sample.
        """


def joined(parts: Sequence[SampleScores]) -> SampleScores:
    """The scores of all samples; all else is that of the first part."""
    return replace(parts[0], values=tuple(chain.from_iterable(part.values for part in parts)))


class Scorer(Protocol):
    """What scores samples by their prompts."""

    tag: ExtractorTag

    def __call__(self, samples: np.ndarray, prompts: Sequence[str]) -> SampleScores:
        """Of samples (N, frames, height, width, 3), uint8, and a prompt for each."""


class EachSample(Judge[list[SampleScores]]):
    """Scores samples one at a time, so that each tells whether its own prompt was cut.

    Args:
        metric (`str`): Which figure it gives.
        scorer (`Scorer`): What scores.
    """

    def __init__(self, metric: str, scorer: Scorer) -> None:
        super().__init__((metric,), scorer.tag)
        self._scorer = scorer

    def look(self, samples: np.ndarray, place: slice, prompts: Sequence[str]) -> list[SampleScores]:
        pairs = zip(samples, prompts[place], strict=True)
        return [self._scorer(sample[None], [prompt]) for sample, prompt in pairs]

    def figures(self, parts: Sequence[list[SampleScores]], prompts: Sequence[str]) -> list[Figure]:
        scores = list(chain.from_iterable(parts))
        if scores[0].truncated is None:
            return [joined(scores)]
        cut = {prompt for prompt, score in zip(prompts, scores, strict=True) if score.truncated}
        return [replace(joined(scores), truncated=len(cut))]
