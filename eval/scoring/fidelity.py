"""Fidelity of every variant to the full run: all metrics of `toca.eval.metrics.ToFullRun`, sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from toca.eval.findings.rows import Samples
from toca.eval.metrics.fidelity import perceptual as made_by
from toca.eval.metrics.metric import FLOAT, Heading, ToFullRun
from toca.eval.metrics.perceptual import PerceptualDistance
from toca.eval.metrics.registry import metrics
from toca.eval.metrics.scores import Refusal
from toca.eval.metrics.tags import DifferentTags
from toca.eval.samples.pictures import Gallery
from toca.eval.scoring.chunk import Chunk, Task, carry_out
from toca.eval.store.environment import scoring_fingerprint
from toca.eval.store.store import Store
from toca.eval.variants import BASELINE, Variant

STAGE = "fidelity"
FEW = 16
"""Float pictures at a time for a metric that takes any number: whole batches of a network, and few for memory."""

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
        if missing:
            self._check_tag(variant)
        return [
            Task(partial(_look, metric, self._tag_of(metric)), partial(self._keep, variant, metric))
            for metric in missing
        ]

    def files(self, variant: Variant) -> list[Path]:
        """Where the figures of a variant lie, or will."""
        tag = FLOAT if self._gallery.expects_floats(BASELINE) else ""
        return [
            self._store.path(STAGE, _name(variant, metric), self._key(variant, metric, tag if metric.floats else ""))
            for metric in self._metrics
        ]

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
        return {
            metric.key: replace(metric.heading, tag=self._tag_of(metric))
            for metric in self._metrics
            if metric.key in found
        }

    @cached_property
    def notes(self) -> list[str]:
        """Why metrics are missing, in sentences."""
        return [kept["refused"] for kept in self._found(BASELINE).values() if kept["refused"] is not None]

    @cached_property
    def _tag(self) -> str:
        """Of the full run's pictures."""
        return FLOAT if self._gallery.has_floats(BASELINE) else ""

    def _tag_of(self, metric: ToFullRun) -> str:
        return self._tag if metric.floats else ""

    def _check_tag(self, variant: Variant) -> None:
        """Raise `DifferentTags` where a variant has no float pictures and the full run has, or the other way round."""
        if self._gallery.has_floats(variant) != bool(self._tag):
            raise DifferentTags(
                f"The pictures of {variant.name!r} and of the full run were not kept alike, one as float32 and one in "
                "8 bits: run the stage `generate` anew in another folder."
            )

    def _found(self, variant: Variant) -> dict[str, dict[str, Any]]:
        carry_out(self.tasks(variant), self._gallery, variant)
        kept = {metric.key: self._kept(variant, metric) for metric in self._metrics}
        return {key: each for key, each in kept.items() if each is not None}

    def _kept(self, variant: Variant, metric: ToFullRun) -> dict[str, Any] | None:
        return self._store.load(STAGE, _name(variant, metric), self._key(variant, metric, self._tag_of(metric)))

    def _keep(self, variant: Variant, metric: ToFullRun, parts: Sequence[Found]) -> None:
        # What a metric refuses are pictures of a size or kind, which all chunks share.
        refused = next((part.reason for part in parts if isinstance(part, Refusal)), None)
        lists = [part for part in parts if isinstance(part, list)]
        values = [value for part in lists for value in part] if lists else None
        found = {"values": values, "refused": refused}
        key = self._key(variant, metric, self._tag_of(metric))
        self._store.save(STAGE, _name(variant, metric), key, found)

    def _key(self, variant: Variant, metric: ToFullRun, tag: str) -> list[Any]:
        """All that a metric's figures depend on."""
        pictures = [self._gallery.key(variant), self._gallery.key(BASELINE)]
        return [*pictures, metric.key, metric.source, tag, self._code]


def _name(variant: Variant, metric: ToFullRun) -> str:
    return f"{variant.name} {metric.key}"


def _look(metric: ToFullRun, tag: str, chunk: Chunk) -> Found:
    """The values of a chunk, or the reason why there are none; `None` for pictures where a metric is of videos."""
    values: list[float | None] = []
    for group in _groups(chunk.count, metric.at_once, FEW if tag == FLOAT else chunk.count):
        samples, references = _pair(chunk, tag, group)
        if metric.videos and samples.shape[1] == 1:
            return None
        found = metric.compute(samples, references)
        if isinstance(found, Refusal):
            return found
        values += found
    return values[: chunk.count]


def _groups(count: int, at_once: int | None, most: int) -> list[list[int]]:
    """Places of so many samples at a time, the last one again where a group is not full: torch lays a lone picture out
    otherwise in memory, and then adds its pixels up in another order. Up to `most` where any number will do."""
    if at_once is None:
        return [list(range(start, min(start + most, count))) for start in range(0, count, most)]
    return [[min(place, count - 1) for place in range(start, start + at_once)] for start in range(0, count, at_once)]


def _pair(chunk: Chunk, tag: str, group: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    return chunk.floats(group) if tag == FLOAT else (chunk.samples[group], chunk.references[group])
