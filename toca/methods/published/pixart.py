"""For PixArt-alpha."""

from __future__ import annotations

from ..base import Method
from ..delta_dit import DeltaDiT
from ..duca import DuCa
from ..tgate import TGate
from ..toca import ToCa


def pixart() -> dict[str, Method]:
    return {
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
        # PixArt-alpha, 25 steps; with other step counts choose `gate_step` anew.
        "tgate/pixart": TGate(gate_step=15, sp_interval=3, fi_interval=1, warm_up=2),
        # PixArt-alpha, 28 blocks, 20 steps.
        "delta-dit/pixart": DeltaDiT(interval=2, blocks=21, switch=12),
    }
