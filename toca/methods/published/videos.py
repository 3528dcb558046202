"""For models that make videos."""

from __future__ import annotations

from ..adacache import AdaCache
from ..base import Method
from ..duca import DuCa
from ..easycache import EasyCache
from ..fastercache import FasterCache
from ..fbcache import FBCache
from ..pab import PAB
from ..seacache import SeaCache
from ..taylorseer import TaylorSeer
from ..teacache import TeaCache
from ..toca import ToCa


def videos() -> dict[str, Method]:
    return {
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
        "taylorseer/hunyuanvideo": TaylorSeer(interval=5, order=1, warmup_steps=1),
        "taylorseer/wan": TaylorSeer(interval=5, order=1, warmup_steps=1),
        "pab/latte": PAB(spatial_range=2, temporal_range=3, cross_range=6, window=(100, 800)),
        "pab/opensora": PAB(spatial_range=2, temporal_range=4, cross_range=6, window=(450, 930)),
        "pab/opensora-plan": PAB(spatial_range=2, temporal_range=4, cross_range=6, window=(100, 850)),
        "pab/cogvideox": PAB(spatial_range=2, temporal_range=None, cross_range=None, window=(100, 850)),
        "fastercache/latte": FasterCache(first_call=7),
        # Open-Sora 1.2: fast and slow in 30 steps, and 100 steps.
        "adacache/opensora": AdaCache(motion_window=(0.13, 0.87)),
        "adacache/opensora-slow": AdaCache(codebook=((0.08, 3), (0.16, 2), (1.0, 1)), motion_window=(0.13, 0.87)),
        "adacache/opensora-100": AdaCache(
            codebook=((0.03, 12), (0.05, 10), (0.07, 8), (0.09, 6), (0.11, 4), (1.0, 3)), motion_window=(0.1, 0.9)
        ),
        "easycache/wan": EasyCache(threshold=0.05, warmup_steps=10),
        "easycache/hunyuanvideo": EasyCache(threshold=0.025, warmup_steps=5),
        # Allegro, 150 steps: its attention alone; which feed-forwards are broadcast is a table of steps.
        "pab/allegro": PAB(spatial_range=2, temporal_range=4, cross_range=6, window=(100, 850)),
        # Its authors' polynomials; 1.6x and 2.1x for HunyuanVideo at 0.1 and 0.15, LTX-Video at 0.03 and 0.05.
        "teacache/hunyuanvideo": TeaCache(
            coefficients=(733.226126, -401.131952, 67.5869174, -3.149878, 0.0961237896), threshold=0.1
        ),
        "teacache/ltx": TeaCache(
            coefficients=(21.4700694, -12.8016453, 2.31279151, 0.792487521, 0.00969274326), threshold=0.05
        ),
        "teacache/mochi": TeaCache(
            coefficients=(-3512.41319, 811.675948, -60.9400215, 2.42429681, 0.00305291719), threshold=0.09
        ),
        "seacache/hunyuanvideo": SeaCache(threshold=0.19),
        # Wan2.1-1.3B.
        "seacache/wan": SeaCache(threshold=0.2),
        # The defaults of ParaAttention.
        "fbcache/hunyuanvideo": FBCache(threshold=0.06),
        "fbcache/mochi": FBCache(threshold=0.06),
    }
