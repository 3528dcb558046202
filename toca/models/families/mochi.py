"""Mochi 1: video and text in streams of their own, of which the text's is narrower (Genmo, 2024)."""

from __future__ import annotations

from ...registry import register
from ..intercepted import Intercepted
from ..prediction import VIDEO
from ..sites import IMAGE_FIRST_STREAMS, feed_forward, joint_attention, text_feed_forward
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec, SiteSpec
from ..streams import IMAGE_FIRST

SIZES = Sizes(
    dims="BCFHW",
    patch=lambda config: (1, config.patch_size, config.patch_size),
    # 19 frames of 480 x 848 pixels.
    latents=lambda config: (4, 60, 106),
    text_tokens=256,
    others=lambda config, call: (("pool", 1),),
)
# What the text is about as a whole: its mean attends to itself and to all of it.
POOLER = SiteSpec(
    "cross_attn",
    "",
    "attention",
    stream="pool",
    context="pool+text",
    query_linears=("to_q", "to_out"),
    text_linears=("to_kv",),
    width="to_q",
)
# Rotations of all tokens, from learned frequencies: one product a call.
ROTATIONS = SiteSpec(
    "ff", "", "feed_forward", token_flops=lambda model: 2 * model.pos_frequencies.numel(), output="proj_out"
)

MOCHI = FamilySpec(
    name="mochi",
    transformer="MochiTransformer3DModel",
    stacks=(
        BlockSpec(
            "main",
            "transformer_blocks",
            (
                joint_attention("attn1", "norm1.norm", "norm1_context.norm", stream=IMAGE_FIRST),
                feed_forward("ff", "norm3"),
                text_feed_forward("ff_context", "norm3_context"),
            ),
            conditioning=("norm1", "norm1_context"),
            streams=IMAGE_FIRST_STREAMS,
        ),
    ),
    side=(BlockSpec("pooler", "time_embed.pooler", (POOLER,)), BlockSpec("rope", "", (ROTATIONS,), rows="call")),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    attention=Intercepted(positions=("image_rotary_emb",)),
    around=(
        ("patch_embed", "token"),
        ("time_embed.timestep_embedder", "sample"),
        ("time_embed.caption_proj", "text_token"),
        ("norm_out", "sample"),
        ("proj_out", "token"),
    ),
    batched=("hidden_states", "encoder_hidden_states", "timestep", "encoder_attention_mask"),
    free=("attention_kwargs",),
    batched_cfg=True,
    input="patch_embed",
    prediction=VIDEO,
)

register(MOCHI)
