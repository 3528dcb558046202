"""The published settings, by name; the figures are those of the papers and of their authors' code."""

from __future__ import annotations

import functools
from dataclasses import replace

from ..registry import settings
from .base import Method
from .clusca import ClusCa
from .delta_dit import DeltaDiT
from .duca import DuCa
from .easycache import EasyCache
from .embedded import embedded_presets
from .fastercache import FasterCache
from .fbcache import DBCache, FBCache
from .fora import FORA
from .hicache import HiCache
from .pab import PAB
from .ras import RAS
from .speca import SpeCa
from .taylorseer import TaylorSeer
from .teacache import TeaCache
from .tgate import TGate
from .toca import ToCa


@functools.cache
def published() -> dict[str, Method]:
    """The settings of papers and of their authors' code, by name; made when first asked for."""
    return {
        # DiT-XL/2, ImageNet 256x256, 50 DDIM steps, guidance 1.5.
        "toca/dit-ddim50": ToCa(
            interval=3,
            fresh_ratio=0.07,
            score="self_attention",
            bonus_patch=2,
            bonus_weight=0.6,
            step_factor=(3.0, -4.0),
            layer_factor=(0.8, 0.4),
            module_factor={"ff": 2.5},
            interval_factor=(1.4, -0.8),
            interval_window=(0.2, 0.4, 2),
            counts_down=True,
        ),
        # The same with 250 DDPM steps.
        "toca/dit-ddpm250": ToCa(
            interval=4,
            fresh_ratio=0.07,
            score="self_attention",
            bonus_patch=2,
            bonus_weight=0.6,
            step_factor=(1.4, -0.8),
            layer_factor=(1.8, -1.6),
            module_factor={"ff": 2.5},
            interval_factor=(1.4, -0.8),
            interval_window=(0.2, 0.4, 2),
            counts_down=True,
        ),
        # PixArt-alpha 256x256, 20 DPM-Solver steps, guidance 4.5.
        "toca/pixart": ToCa(
            interval=3,
            fresh_ratio=0.30,
            score="cross_attention",
            bonus_patch=4,
            bonus_weight=0.4,
            shared_cfg=True,
            step_factor=(1.9, -1.8),
            layer_factor=(1.6, -1.2),
            module_factor={"cross_attn": 0.6, "ff": 1.6},
            interval_factor=(0.8, 0.4),
        ),
        # Open-Sora 1.2, 30 rectified-flow steps, guidance 7; cross-attention full every 6th step.
        "toca/opensora": ToCa(
            interval=3,
            fresh_ratio=0.1,
            score="cross_attention",
            bonus_patch=0,
            bonus_weight=0.0,
            shared_cfg=True,
            module_factor={"cross_attn": 0.0, "ff": 1.495},
            warmup_steps=3,
            module_interval={"cross_attn": 6},
        ),
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
        # DiT-XL/2, 50 DDIM steps.
        "fora/dit": FORA(interval=3),
        # Counting up, as on FLUX.
        "fora/flux": FORA(interval=3, counts_down=False),
        # DiT-XL/2, 50 DDIM steps.
        "duca/dit": DuCa(
            interval=3,
            fresh_ratio=0.05,
            bonus_patch=2,
            bonus_weight=0.8,
            step_factor=(3.0, -4.0),
            layer_factor=(0.8, 0.4),
            module_factor={"ff": 2.5},
            interval_factor=(1.4, -0.8),
            interval_window=(0.2, 0.4, 2),
            counts_down=True,
        ),
        # PixArt-alpha, 20 steps: an interval that does not adapt.
        "duca/pixart": DuCa(
            interval=3,
            fresh_ratio=0.75,
            bonus_patch=4,
            bonus_weight=0.4,
            shared_cfg=True,
            step_factor=(1.9, -1.8),
            layer_factor=(1.6, -1.2),
            module_factor={"cross_attn": 0.6, "ff": 1.6},
        ),
        # Open-Sora 1.2, 30 steps: attention is reused in token-wise steps, cross-attention full every 6th step.
        "duca/opensora": DuCa(
            interval=3,
            fresh_ratio=0.1,
            bonus_patch=0,
            bonus_weight=0.0,
            module_factor={"ff": 1.495},
            warmup_steps=3,
            module_interval={"cross_attn": 6},
        ),
        # HunyuanVideo, 50 steps: chance does as well as importance.
        "duca/hunyuanvideo": DuCa(interval=5, fresh_ratio=0.1, score="random", bonus_patch=0, bonus_weight=0.0),
        "clusca/flux": ClusCa(interval=5, clusters=16, smoothing=0.005, order=2, warmup_steps=3),
        # The schedule of TaylorSeer on DiT, with one token of each cluster.
        "clusca/dit": ClusCa(interval=4, clusters=16, smoothing=0.0, order=4, warmup_steps=2),
        # 28 steps.
        "ras/flux": RAS(sample_ratio=0.5, warmup_steps=4, dense_steps=(12, 22)),
        "taylorseer/dit": TaylorSeer(interval=4, order=4, warmup_steps=2),
        "taylorseer/flux": TaylorSeer(interval=6, order=2, warmup_steps=3),
        "taylorseer/hunyuanvideo": TaylorSeer(interval=5, order=1, warmup_steps=1),
        "taylorseer/wan": TaylorSeer(interval=5, order=1, warmup_steps=1),
        "taylorseer/lite": TaylorSeer(interval=5, order=2, warmup_steps=3, scope="lite"),
        # FLUX.1-dev: the same schedule with the Hermite basis.
        "hicache/flux": HiCache(interval=6, order=2, warmup_steps=3, sigma=0.5),
        "pab/latte": PAB(spatial_range=2, temporal_range=3, cross_range=6, window=(100, 800)),
        "pab/opensora": PAB(spatial_range=2, temporal_range=4, cross_range=6, window=(450, 930)),
        "pab/opensora-plan": PAB(spatial_range=2, temporal_range=4, cross_range=6, window=(100, 850)),
        "pab/cogvideox": PAB(spatial_range=2, temporal_range=None, cross_range=None, window=(100, 850)),
        # PixArt-alpha, 25 steps; with other step counts choose `gate_step` anew.
        "tgate/pixart": TGate(gate_step=15, sp_interval=3, fi_interval=1, warm_up=2),
        # PixArt-alpha, 28 blocks, 20 steps.
        "delta-dit/pixart": DeltaDiT(interval=2, blocks=21, switch=12),
        "fastercache/latte": FasterCache(first_call=7),
        # The polynomial that its authors fitted to FLUX.1-dev.
        "teacache/flux": TeaCache(
            coefficients=(498.651651, -283.781631, 55.8554382, -3.82021401, 0.264230861), threshold=0.25
        ),
        "fbcache/flux": FBCache(threshold=0.08),
        "dbcache/flux": DBCache(threshold=0.08, first_blocks=8, last_blocks=0, warmup_steps=8),
        # The thresholds of SpeCa belong to its authors' error over single numbers.
        "speca/dit": SpeCa(threshold=0.1, decay=0.01, min_drafts=2, max_drafts=5, order=4, error="elements"),
        "speca/flux": SpeCa(
            threshold=0.3, decay=0.01, min_drafts=2, max_drafts=8, order=2, compared="residual", error="elements"
        ),
        "easycache/wan": EasyCache(threshold=0.05, warmup_steps=10),
        "easycache/hunyuanvideo": EasyCache(threshold=0.025, warmup_steps=5),
    }


MADE_FOR: dict[str, str] = {
    "dit": "dit", "dit-ddim50": "dit", "dit-ddpm250": "dit", "pixart": "pixart", "emoji": "pixart", "flux": "flux",
    "latte": "latte", "opensora": "Open-Sora", "opensora-plan": "Open-Sora-Plan", "cogvideox": "CogVideoX",
    "wan": "Wan", "hunyuanvideo": "HunyuanVideo",
}  # fmt: skip
"""By the second half of a preset's name, the family that it was made for; other models are no family here yet."""


@settings
def presets() -> dict[str, Method]:
    """All settings that have a name: the published ones, and those of the models that come with toca."""
    return {name: preset(name) for name in (*published(), *embedded_presets())}


def preset(name: str) -> Method:
    """A setting by its name.

    Raises:
        ValueError: If there is none of this name; it lists those there are.
    """
    known = published() | embedded_presets()
    if name not in known:
        raise ValueError(f"There is no preset {name!r}; the presets are {', '.join(known)}.")
    return replace(known[name])  # type: ignore[type-var]


def foreign_to(name: str, family: str) -> str | None:
    """What to say of a preset on a family that it was not made for; `None` where it was, or where none is told."""
    made_for = _made_for(name)
    if made_for in (None, family):
        return None
    method = name.partition("/")[0]
    fitting = [other for other in presets() if other.startswith(f"{method}/") and _made_for(other) in (None, family)]
    instead = f": {' or '.join(fitting)} would be" if fitting else ""
    return f"The preset {name} was made for {made_for}, and not for {family}, which this model is{instead}."


def _made_for(name: str) -> str | None:
    return MADE_FOR.get(name.partition("/")[2])
