"""For DiT-XL/2 on ImageNet."""

from __future__ import annotations

from ..base import Method
from ..clusca import ClusCa
from ..duca import DuCa
from ..fora import FORA
from ..speca import SpeCa
from ..taylorseer import TaylorSeer
from ..toca import ToCa


def dit() -> dict[str, Method]:
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
        # DiT-XL/2, 50 DDIM steps.
        "fora/dit": FORA(interval=3),
        # DiT-XL/2, 50 DDIM steps. The authors' code rates tokens by attention here, as ToCa's does, and not by values.
        "duca/dit": DuCa(
            interval=3,
            fresh_ratio=0.05,
            score="self_attention",
            bonus_patch=2,
            bonus_weight=0.8,
            step_factor=(3.0, -4.0),
            layer_factor=(0.8, 0.4),
            module_factor={"ff": 2.5},
            interval_factor=(1.4, -0.8),
            interval_window=(0.2, 0.4, 2),
            counts_down=True,
        ),
        # The schedule of TaylorSeer on DiT, with one token of each cluster.
        "clusca/dit": ClusCa(interval=4, clusters=16, smoothing=0.0, order=4, warmup_steps=2),
        "taylorseer/dit": TaylorSeer(interval=4, order=4, warmup_steps=2),
        # The thresholds of SpeCa belong to its authors' error over single numbers.
        "speca/dit": SpeCa(threshold=0.1, decay=0.01, min_drafts=2, max_drafts=5, order=4, error="elements"),
    }
