"""What papers say of settings that are presets here: their authors', or others' who ran them. Machines and baselines
differ, so that figures of two of them do not compare; nothing of it was measured by us."""

from __future__ import annotations

FIGURES: dict[str, str] = {
    "toca/dit-ddim50": "2.32x fewer FLOPs, FID 2.43 to 3.04, 50 DDIM steps",
    "toca/pixart": "1.77x fewer FLOPs, 1.45x by the clock, FID 28.12 to 28.02, CLIP score 16.29 to 16.43",
    "toca/opensora": "2.36x, called nearly lossless",
    "toca/flux": "2.94x fewer FLOPs, 2.84x by the clock, ImageReward 0.9898 to 0.9798",
    "fora/flux": "2.82x fewer FLOPs, 2.61x by the clock, ImageReward to 0.9227",
    "duca/opensora": "2.50x",
    "duca/dit": "2.48x, FID 2.32 to 2.88",
    "taylorseer/flux": "4.99x fewer FLOPs, 3.53x by the clock, ImageReward 0.9898 to 1.0039",
    "taylorseer/hunyuanvideo": "5.00x fewer FLOPs, 4.65x by the clock, VBench 80.66 to 79.93",
    "clusca/flux": "4.14x, ImageReward to 0.9825",
    "fbcache/flux": "26.36 s to 17.01 s",
}
"""By the preset's name. None stands here for a setting that is not the one that the figure was published for."""
