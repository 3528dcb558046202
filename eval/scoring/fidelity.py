"""Fidelity of every variant to the full run: what `toca.eval.fidelity` computes, MS-SSIM, and the motion of videos."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property, partial
from typing import Any

import numpy as np

from toca.eval.environment import scoring_fingerprint
from toca.eval.fidelity import STAGE, Metric, fidelity, metrics_with
from toca.eval.metrics.ms_ssim import MS_SSIM, ms_ssim
from toca.eval.metrics.scores import Refusal
from toca.eval.metrics.video import MOTION, motion_psnr
from toca.eval.perceptual import PerceptualDistance
from toca.eval.pictures import Gallery
from toca.eval.rows import Samples
from toca.eval.store import Store
from toca.eval.variants import BASELINE, Variant

Pictures = Callable[[], np.ndarray]
FURTHER = {"ms_ssim": Metric(MS_SSIM, 3), "motion_psnr": Metric(f"{MOTION} dB", 1)}
"""What there is beside the metrics of `toca.eval.fidelity`, by key."""


class Fidelity:
    """Compares the pictures of variants with those of the full run, sample by sample.

    Args:
        gallery (`Gallery`): The pictures, those of the full run among them.
        perceptual (`PerceptualDistance`, *optional*): A metric beside PSNR and SSIM.
        store (`Store`): Where figures are kept; those that are there are taken, and then no picture is read.

    `full` reads the pictures of the full run, once.
    """

    def __init__(self, gallery: Gallery, perceptual: PerceptualDistance | None, store: Store) -> None:
        self._gallery, self._perceptual, self._store = gallery, perceptual, store
        self._code = scoring_fingerprint()
        self.full: Pictures = cache(partial(gallery.load, BASELINE))

    def of(self, variant: Variant, pictures: Pictures) -> Samples:
        """Every metric of every sample, by the metric's key. `None` is a sample without a value: PSNR has none where
        the pictures are identical, and that of motion none where all changes are.

        Args:
            variant (`Variant`): Whose samples.
            pictures (`Callable`): Reads them: (N, frames, height, width, 3), uint8.

        Raises:
            ValueError, OSError: If pictures cannot be read, or are not of the full run's size.
        """
        return {**self._basic(variant, pictures)["samples"], **self._further(variant, pictures)["samples"]}

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """The columns of fidelity, by the same keys: those that pictures of this size and kind have."""
        found = self._further(BASELINE, self.full)["samples"]
        return metrics_with(self._perceptual) | {name: metric for name, metric in FURTHER.items() if name in found}

    @cached_property
    def notes(self) -> list[str]:
        """Why metrics are missing, in sentences."""
        return self._further(BASELINE, self.full)["refused"]

    def _basic(self, variant: Variant, pictures: Pictures) -> dict[str, Any]:
        source = self._perceptual.source if self._perceptual else None
        key = [self._gallery.key(variant), self._gallery.key(BASELINE), source]
        return self._kept(variant, key, lambda: {"samples": fidelity(pictures(), self.full(), self._perceptual)})

    def _further(self, variant: Variant, pictures: Pictures) -> dict[str, Any]:
        key = [self._gallery.key(variant), self._gallery.key(BASELINE), list(FURTHER), self._code]
        return self._kept(variant, key, lambda: _further(pictures(), self.full()))

    def _kept(self, variant: Variant, key: Any, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        found = self._store.load(STAGE, variant.name, key)
        return self._store.save(STAGE, variant.name, key, compute()) if found is None else found


def _further(samples: np.ndarray, references: np.ndarray) -> dict[str, Any]:
    """The values of each metric that has any, and the reasons of the others."""
    found = {"ms_ssim": ms_ssim(samples, references)}
    if samples.shape[1] > 1:
        found["motion_psnr"] = motion_psnr(samples, references)
    refused = [each.reason for each in found.values() if isinstance(each, Refusal)]
    return {"samples": {name: each for name, each in found.items() if isinstance(each, list)}, "refused": refused}
