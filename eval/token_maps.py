"""Which tokens the token-wise methods recomputed, and their plans: for the report's heat maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import toca
from toca.eval.pictures import Gallery
from toca.eval.report.token_recorder import TokenRecorder
from toca.eval.running import ready
from toca.eval.variants import Variant

STAGE = "token maps"
SAMPLES = 4
"""How many are recorded, the first of a run, in a batch of their own."""
TOKEN_WISE = "t"
"""The letter of a step in which some tokens were recomputed."""


@dataclass(frozen=True)
class TokenMaps:
    """Records which tokens were recomputed, and keeps it in the gallery's store.

    Args:
        gallery (`Gallery`): Whose samples.
    """

    gallery: Gallery

    def record(self, variant: Variant, steps: Iterable[str]) -> None:
        """Record a variant, if it is one that chooses tokens by a plan and has not been recorded.

        Args:
            variant (`Variant`): One that has its pictures.
            steps (`Iterable[str]`): What its batches did.
        """
        key, store = self.gallery.key(variant), self.gallery.store
        if not any(TOKEN_WISE in each for each in steps) or store.load(STAGE, variant.name, key) is not None:
            return
        plan, shares = self._record(variant)
        if plan is not None:
            plan.save(self._plan(variant))
        store.save(STAGE, variant.name, key, {"shares": None if shares is None else shares.tolist()})

    def found(self, variants: Sequence[Variant]) -> tuple[dict[str, np.ndarray], dict[str, toca.Plan]]:
        """What was recorded, by the variant's name: shares as `TokenRecorder.shares` gives them, and plans."""
        kept = {each.name: self.gallery.store.load(STAGE, each.name, self.gallery.key(each)) for each in variants}
        shares = {
            name: np.array(found["shares"], dtype=np.float32)
            for name, found in kept.items()
            if found is not None and found["shares"] is not None
        }
        paths = {each.name: self._plan(each) for each in variants if each.name in shares}
        return shares, {name: toca.Plan.load(path) for name, path in paths.items()}

    @torch.no_grad()
    def _record(self, variant: Variant) -> tuple[toca.Plan, np.ndarray] | tuple[None, None]:
        """The plan and the shares; neither of what decides for each image by itself, and follows no plan."""
        gallery, items = self.gallery, self.gallery.items[:SAMPLES]
        transformer = gallery.subject.pipe.transformer
        method = variant.method
        plan = method if isinstance(method, toca.Plan) else method.plan(transformer, gallery.subject.steps)
        if plan.gate is not None:
            return None, None
        with ready(gallery.subject, variant, items, gallery.seed) as (call, _), TokenRecorder(transformer) as recorder:
            call()
        return plan, recorder.shares(len(items))

    def _plan(self, variant: Variant) -> Path:
        path = self.gallery.store.path(STAGE, variant.name, self.gallery.key(variant))
        return path.with_suffix(".plan.json")
