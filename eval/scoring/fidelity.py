"""Fidelity of every variant to the full run: PSNR, SSIM, a perceptual distance, MS-SSIM, and the motion of videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from toca.eval.findings.rows import Samples
from toca.eval.metrics.fidelity import PERCEPTUAL, STAGE, Metric, fidelity, metrics_with
from toca.eval.metrics.ms_ssim import MS_SSIM, ms_ssim
from toca.eval.metrics.perceptual import PerceptualDistance
from toca.eval.metrics.pictures import as_pictures
from toca.eval.metrics.scores import Refusal
from toca.eval.metrics.video import MOTION, motion_psnr
from toca.eval.samples.pictures import Gallery
from toca.eval.scoring.chunk import Chunk, Task, carry_out
from toca.eval.store.environment import scoring_fingerprint
from toca.eval.store.store import Store
from toca.eval.variants import BASELINE, Variant

FURTHER = {"ms_ssim": Metric(MS_SSIM, 3), "motion_psnr": Metric(f"{MOTION} dB", 1)}
"""What there is beside the metrics of `toca.eval.metrics.fidelity`, by key."""


class Fidelity:
    """Compares the pictures of variants with those of the full run, sample by sample.

    Args:
        gallery (`Gallery`): The pictures, those of the full run among them.
        perceptual (`PerceptualDistance`, *optional*): A metric beside PSNR and SSIM.
        store (`Store`): Where figures are kept; those that are there are taken, and then no picture is read.
    """

    def __init__(self, gallery: Gallery, perceptual: PerceptualDistance | None, store: Store) -> None:
        self._gallery, self._perceptual, self._store = gallery, perceptual, store
        self._code = scoring_fingerprint()

    def tasks(self, variant: Variant) -> list[Task]:
        """What is to be done before `of` finds everything in the store."""
        return [
            Task(look, partial(self._keep, variant, key))
            for look, key in self._work(variant)
            if self._store.load(STAGE, variant.name, key) is None
        ]

    def of(self, variant: Variant) -> Samples:
        """Every metric of every sample, by the metric's key. `None` is a sample without a value: PSNR has none where
        the pictures are identical, and that of motion none where all changes are.

        Raises:
            ValueError, OSError: If pictures cannot be read, or are not of the full run's size.
        """
        return {name: values for each in self._found(variant) for name, values in each["samples"].items()}

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """The columns of fidelity, by the same keys: those that pictures of this size and kind have."""
        found = self.of(BASELINE)
        return metrics_with(self._perceptual) | {name: metric for name, metric in FURTHER.items() if name in found}

    @cached_property
    def notes(self) -> list[str]:
        """Why metrics are missing, in sentences."""
        return [reason for each in self._found(BASELINE) for reason in each.get("refused", [])]

    def _work(self, variant: Variant) -> list[tuple[Callable[[Chunk], dict[str, Any]], Any]]:
        """What to compute of each chunk, and the key that it is kept by."""
        source = self._perceptual.source if self._perceptual else None
        pictures = [self._gallery.key(variant), self._gallery.key(BASELINE)]
        return [(self._basic, [*pictures, source]), (_further, [*pictures, list(FURTHER), self._code])]

    def _found(self, variant: Variant) -> list[dict[str, Any]]:
        carry_out(self.tasks(variant), self._gallery, variant)
        kept = [self._store.load(STAGE, variant.name, key) for _, key in self._work(variant)]
        return [each for each in kept if each is not None]

    def _keep(self, variant: Variant, key: Any, parts: Sequence[dict[str, Any]]) -> None:
        names = parts[0]["samples"]
        samples = {name: [value for part in parts for value in part["samples"][name]] for name in names}
        # Refusals are by the pictures' size and kind, which all chunks share.
        self._store.save(STAGE, variant.name, key, {**parts[0], "samples": samples})

    def _basic(self, chunk: Chunk) -> dict[str, Any]:
        samples = _in_twos(chunk.samples, chunk.references)
        if self._perceptual is not None:
            distances = self._perceptual(as_pictures(chunk.samples), as_pictures(chunk.references))
            samples[PERCEPTUAL] = distances.double().view(chunk.samples.shape[:2]).mean(1).tolist()
        return {"samples": samples}


def _in_twos(samples: np.ndarray, references: np.ndarray) -> Samples:
    """PSNR and SSIM: its filter takes more than a gigabyte for each picture of 512 pixels.

    Two at a time, the last one twice if it is alone: torch lays a lone picture out otherwise in memory, and then adds
    its pixels up in another order.
    """
    count = len(samples)
    twos = [[i, min(i + 1, count - 1)] for i in range(0, count, 2)]
    found = [fidelity(samples[two], references[two], None) for two in twos]
    return {name: [value for each in found for value in each[name]][:count] for name in found[0]}


def _further(chunk: Chunk) -> dict[str, Any]:
    """The values of each metric that has any, and the reasons of the others."""
    found = {"ms_ssim": ms_ssim(chunk.samples, chunk.references)}
    if chunk.samples.shape[1] > 1:
        found["motion_psnr"] = motion_psnr(chunk.samples, chunk.references)
    refused = [each.reason for each in found.values() if isinstance(each, Refusal)]
    return {"samples": {name: each for name, each in found.items() if isinstance(each, list)}, "refused": refused}
