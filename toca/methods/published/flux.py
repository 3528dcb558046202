"""For FLUX.1-dev."""

from __future__ import annotations

from ..base import Method
from ..blockdance import BlockDance
from ..clusca import ClusCa
from ..fbcache import DBCache, FBCache
from ..fora import FORA
from ..freqca import FreqCa
from ..hicache import HiCache
from ..ras import RAS
from ..seacache import SeaCache
from ..speca import SpeCa
from ..spectrum import Spectrum
from ..taylorseer import TaylorSeer
from ..teacache import TeaCache
from ..toca import ToCa


def flux() -> dict[str, Method]:
    return {
        # FLUX.1-dev, 50 steps.
        "toca/flux": ToCa(
            interval=4,
            fresh_ratio=0.1,
            score="self_attention",
            bonus_patch=0,
            bonus_weight=0.0,
            layer_factor=(1.5, -1.0),
            layer_scale=27,
            module_factor={"ff": 0.4, "ff_context": 0.4, "block": 1.6},
            warmup_steps=3,
            phase=2,
        ),
        # Counting up, as on FLUX.
        "fora/flux": FORA(interval=3, counts_down=False),
        "clusca/flux": ClusCa(interval=5, clusters=16, smoothing=0.005, order=2, warmup_steps=3),
        # The boundary at which chitu runs it.
        "blockdance/flux": BlockDance(blocks=19, interval=2),
        # 28 steps.
        "ras/flux": RAS(sample_ratio=0.5, warmup_steps=4, dense_steps=(12, 22)),
        "taylorseer/flux": TaylorSeer(interval=6, order=2, warmup_steps=3),
        "taylorseer/lite": TaylorSeer(interval=5, order=2, warmup_steps=3, scope="lite"),
        # FLUX.1-dev: the same schedule with the Hermite basis.
        "hicache/flux": HiCache(interval=6, order=2, warmup_steps=3, sigma=0.5),
        # 50 steps; the authors run it at 6 and at 9.
        "freqca/flux": FreqCa(interval=6, transform="cosine"),
        # 50 steps, of which 14 are full, or 10.
        "spectrum/flux": Spectrum(growth=0.75),
        "spectrum/flux-fast": Spectrum(growth=3.0),
        # The polynomial that its authors fitted to FLUX.1-dev.
        "teacache/flux": TeaCache(
            coefficients=(498.651651, -283.781631, 55.8554382, -3.82021401, 0.264230861), threshold=0.25
        ),
        # 50 steps, of which about a half are computed, or 30 %.
        "seacache/flux": SeaCache(threshold=0.3),
        "seacache/flux-fast": SeaCache(threshold=0.6),
        "fbcache/flux": FBCache(threshold=0.08),
        "dbcache/flux": DBCache(threshold=0.08, first_blocks=8, last_blocks=0, warmup_steps=8),
        "speca/flux": SpeCa(
            threshold=0.3, decay=0.01, min_drafts=2, max_drafts=8, order=2, compared="residual", error="elements"
        ),
    }
