"""SkyReels-V2: Wan's blocks, with a timestep for each frame where it forces diffusion (Chen et al., arXiv
2504.13074)."""

from __future__ import annotations

from dataclasses import replace

from ...registry import register
from .wan import AROUND, WAN, sizes

# 97 frames of 544 x 960 pixels.
SIZES = sizes(25, 68, 120)

register(
    replace(
        WAN,
        name="skyreels",
        transformer="SkyReelsV2Transformer3DModel",
        call_shape=SIZES.call_shape,
        default_shape=SIZES.default_shape,
        around=(*AROUND, ("fps_projection", "sample")),
        listed=("fps",),
        whole=("enable_diffusion_forcing", "return_dict"),
    )
)
