"""AnyFlow: Wan's blocks, told where a step goes besides where it begins (arXiv 2605.13724)."""

from __future__ import annotations

from dataclasses import replace

from ...registry import register
from ..intercepted import Intercepted
from ..prediction import VIDEO_FRAMES_FIRST
from ..sites import cross_attention, feed_forward, self_attention
from .wan import BATCHED, BLOCKS, WAN, sizes

# 81 frames of 480 x 832 pixels.
SIZES = sizes(21, 60, 104, dims="BFCHW")
SITES = (
    self_attention("attn1", "norm1"),
    cross_attention("attn2", "norm2", context="picture+text"),
    feed_forward("ffn", "norm3"),
)

ANYFLOW = replace(
    WAN,
    name="anyflow",
    transformer="AnyFlowTransformer3DModel",
    stacks=(replace(BLOCKS, sites=SITES),),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    # Frames have timesteps of their own, even if they are the same.
    attention=Intercepted(drops=False),
    around=(
        ("patch_embedding", "token"),
        ("condition_embedder.time_embedder", "times"),
        ("condition_embedder.delta_embedder", "times"),
        ("condition_embedder.time_proj", "times"),
        ("condition_embedder.text_embedder", "text_token"),
        ("condition_embedder.image_embedder", "picture"),
        ("proj_out", "token"),
    ),
    batched=(*BATCHED, "r_timestep"),
    channel_dim=2,
    batched_cfg=True,
    prediction=VIDEO_FRAMES_FIRST,
    modulation="token",
)

register(ANYFLOW)
