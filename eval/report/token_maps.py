"""Which tokens the token-wise methods recomputed, and their plans: for the report's heat maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

import toca
from toca.eval.peers import Peer
from toca.eval.samples.pictures import Gallery
from toca.eval.samples.running import ready
from toca.eval.variants import Variant
from toca.pipelines.method_options import from_record, recorded
from toca.pipelines.token_recorder import TokenRecorder

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
        found = None if plan is None or shares is None else {"plan": recorded(plan), "shares": shares.tolist()}
        store.save(STAGE, variant.name, key, {"map": found})

    def found(self, variants: Sequence[Variant]) -> tuple[dict[str, np.ndarray], dict[str, toca.Plan]]:
        """What was recorded, by the variant's name: shares as `TokenRecorder.shares` gives them, and plans."""
        kept = {each.name: self.gallery.store.load(STAGE, each.name, self.gallery.key(each)) for each in variants}
        maps = {name: found["map"] for name, found in kept.items() if found is not None and found["map"] is not None}
        shares = {name: np.array(found["shares"], dtype=np.float32) for name, found in maps.items()}
        return shares, {name: from_record(found["plan"]) for name, found in maps.items()}

    @torch.no_grad()
    def _record(self, variant: Variant) -> tuple[toca.Plan, np.ndarray] | tuple[None, None]:
        """The plan and the shares; neither of what follows no plan, or decides for each image by itself."""
        gallery, items = self.gallery, self.gallery.items[:SAMPLES]
        transformer = gallery.subject.pipe.transformer
        method = variant.method
        if method is None or isinstance(method, Peer):
            return None, None
        plan = method if isinstance(method, toca.Plan) else method.plan(transformer, gallery.subject.steps)
        if plan.gate is not None:
            return None, None
        with ready(gallery.subject, variant, items, gallery.seed) as (call, _), TokenRecorder(transformer) as recorder:
            call()
        return plan, recorder.shares(len(items))
