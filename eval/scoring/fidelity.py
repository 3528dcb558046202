"""Fidelity of every variant to the full run: all metrics of `toca.eval.metrics.ToFullRun`, sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np

from toca.eval.findings.rows import Samples
from toca.eval.metrics.fidelity import perceptual as made_by
from toca.eval.metrics.metric import Heading, ToFullRun
from toca.eval.metrics.perceptual import PerceptualDistance
from toca.eval.metrics.registry import metrics
from toca.eval.metrics.scores import Refusal
from toca.eval.samples.pictures import Gallery
from toca.eval.scoring.chunk import Chunk, Task, carry_out
from toca.eval.store.environment import scoring_fingerprint
from toca.eval.store.store import Store
from toca.eval.variants import BASELINE, Variant

STAGE = "fidelity"

Found: TypeAlias = "list[float | None] | Refusal | None"


class Fidelity:
    """Compares the pictures of variants with those of the full run, sample by sample.

    Args:
        gallery (`Gallery`): The pictures, those of the full run among them.
        perceptual (`PerceptualDistance`, *optional*): What makes a metric beside those that need no network.
        store (`Store`): Where figures are kept; those that are there are taken, and then no picture is read.
    """

    def __init__(self, gallery: Gallery, perceptual: PerceptualDistance | None, store: Store) -> None:
        self._gallery, self._store = gallery, store
        own = [] if perceptual is None else [made_by(perceptual)]
        self._metrics = sorted([*metrics(ToFullRun), *own], key=lambda metric: metric.place)
        self._code = scoring_fingerprint()

    def tasks(self, variant: Variant) -> list[Task[Found]]:
        """What is to be done before `of` finds everything in the store: a task for each metric that is not there."""
        missing = [metric for metric in self._metrics if self._kept(variant, metric) is None]
        return [Task(partial(_look, metric), partial(self._keep, variant, metric)) for metric in missing]

    def of(self, variant: Variant) -> Samples:
        """Every metric of every sample, by the metric's key. `None` is a sample without a value: PSNR has none where
        the pictures are identical, and that of motion none where all changes are.

        Raises:
            ValueError, OSError: If pictures cannot be read, or are not of the full run's size.
        """
        return {key: kept["values"] for key, kept in self._found(variant).items() if kept["values"] is not None}

    @cached_property
    def metrics(self) -> dict[str, Heading]:
        """The columns of fidelity, by the same keys: those that pictures of this size and kind have."""
        found = self.of(BASELINE)
        return {metric.key: metric.heading for metric in self._metrics if metric.key in found}

    @cached_property
    def notes(self) -> list[str]:
        """Why metrics are missing, in sentences."""
        return [kept["refused"] for kept in self._found(BASELINE).values() if kept["refused"] is not None]

    def _found(self, variant: Variant) -> dict[str, dict[str, Any]]:
        carry_out(self.tasks(variant), self._gallery, variant)
        kept = {metric.key: self._kept(variant, metric) for metric in self._metrics}
        return {key: each for key, each in kept.items() if each is not None}

    def _kept(self, variant: Variant, metric: ToFullRun) -> dict[str, Any] | None:
        return self._store.load(STAGE, f"{variant.name} {metric.key}", self._key(variant, metric))

    def _keep(self, variant: Variant, metric: ToFullRun, parts: Sequence[Found]) -> None:
        # What a metric refuses are pictures of a size or kind, which all chunks share.
        refused = next((part.reason for part in parts if isinstance(part, Refusal)), None)
        lists = [part for part in parts if isinstance(part, list)]
        values = [value for part in lists for value in part] if lists else None
        found = {"values": values, "refused": refused}
        self._store.save(STAGE, f"{variant.name} {metric.key}", self._key(variant, metric), found)

    def _key(self, variant: Variant, metric: ToFullRun) -> list[Any]:
        """All that a metric's figures depend on."""
        pictures = [self._gallery.key(variant), self._gallery.key(BASELINE)]
        return [*pictures, metric.key, metric.source, self._code]


def _look(metric: ToFullRun, chunk: Chunk) -> Found:
    """The values of a chunk, or the reason why there are none; `None` for pictures where a metric is of videos."""
    if metric.videos and chunk.samples.shape[1] == 1:
        return None
    if metric.at_once is None:
        return metric.compute(chunk.samples, chunk.references)
    return _in_groups(metric, metric.at_once, chunk.samples, chunk.references)


def _in_groups(metric: ToFullRun, size: int, samples: np.ndarray, references: np.ndarray) -> Found:
    """So many at a time, the last one again where a group is not full: torch lays a lone picture out otherwise in
    memory, and then adds its pixels up in another order."""
    count = len(samples)
    values: list[float | None] = []
    for start in range(0, count, size):
        group = [min(place, count - 1) for place in range(start, start + size)]
        found = metric.compute(samples[group], references[group])
        if isinstance(found, Refusal):
            return found
        values += found
    return values[:count]
