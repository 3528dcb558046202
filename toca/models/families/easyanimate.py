"""EasyAnimate: video, text and image in streams of their own, in the last blocks with the same weights (Xu et al.,
arXiv 2405.18991)."""

from __future__ import annotations

from dataclasses import replace

from ...registry import register
from ..intercepted import Intercepted
from ..prediction import VIDEO
from ..sites import QKV, feed_forward, joint_attention, text_feed_forward
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec

SIZES = Sizes(
    dims="BCFHW",
    patch=lambda config: (1, config.patch_size, config.patch_size),
    # 49 frames.
    latents=lambda config: (13, config.sample_height, config.sample_width),
    text_tokens=256,
)
# Blocks that have a feed-forward for the text have linear layers for it in their attention too.
OWN = "txt_ff"
ATTENTION = joint_attention("attn1", given=OWN)

EASYANIMATE = FamilySpec(
    name="easyanimate",
    transformer="EasyAnimateTransformer3DModel",
    stacks=(
        BlockSpec(
            "main",
            "transformer_blocks",
            (
                ATTENTION,
                # The others project the text as they do the image, and leave what comes out of its attention as it is.
                replace(ATTENTION, text_linears=QKV, given=None, unless=OWN),
                feed_forward("ff"),
                text_feed_forward("txt_ff"),
                text_feed_forward("ff", unless=OWN),
            ),
            conditioning=("norm1", "norm2"),
            streams=("hidden_states", "encoder_hidden_states"),
        ),
    ),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    attention=Intercepted(positions=("image_rotary_emb",)),
    around=(
        ("time_embedding", "sample"),
        ("proj", "token"),
        ("text_proj", "text_token"),
        ("norm_out", "sample"),
        ("proj_out", "token"),
    ),
    # What a second text encoder says makes a longer text: such calls run in full.
    batched=(
        "hidden_states",
        "timestep",
        "timestep_cond",
        "encoder_hidden_states",
        "inpaint_latents",
        "control_latents",
    ),
    batched_cfg=True,
    input="proj",
    prediction=VIDEO,
)

register(EASYANIMATE)
