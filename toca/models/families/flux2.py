"""FLUX.2: dual-stream blocks, then blocks over one row whose attention is their feed-forward too (Black Forest Labs,
2025)."""

from __future__ import annotations

from ...registry import register
from ..intercepted import Intercepted
from ..prediction import PACKED
from ..sites import (
    TEXT_FIRST_STREAMS,
    feed_forward,
    joint_attention,
    self_attention,
    text_feed_forward,
)
from ..spec import BlockSpec, FamilySpec
from ..streams import JOINT
from .flux import SIZES, grid

FLUX2 = FamilySpec(
    name="flux2",
    transformer="Flux2Transformer2DModel",
    stacks=(
        BlockSpec(
            "dual",
            "transformer_blocks",
            (
                joint_attention("attn", "norm1", "norm1_context"),
                feed_forward("ff", "norm2"),
                text_feed_forward("ff_context", "norm2_context"),
            ),
            streams=TEXT_FIRST_STREAMS,
        ),
        BlockSpec(
            "single",
            "single_transformer_blocks",
            # One layer makes query, key, value and the feed-forward's middle, and one reads all of it.
            (
                self_attention(
                    "attn", "norm", stream=JOINT, query_linears=("to_qkv_mlp_proj", "to_out"), width="to_out"
                ),
            ),
        ),
    ),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    attention=Intercepted(positions=("image_rotary_emb",)),
    around=(
        ("x_embedder", "token"),
        ("context_embedder", "text_token"),
        ("time_guidance_embed", "sample"),
        ("double_stream_modulation_img", "sample"),
        ("double_stream_modulation_txt", "sample"),
        ("single_stream_modulation", "sample"),
        ("norm_out", "sample"),
        ("proj_out", "token"),
    ),
    # Calls that write or read keys and values of references (Klein KV) are not named, and run in full.
    batched=("hidden_states", "encoder_hidden_states", "timestep", "guidance"),
    whole=("img_ids", "txt_ids", "return_dict"),
    free=("joint_attention_kwargs",),
    channel_dim=2,
    grid=grid,
    input="x_embedder",
    prediction=PACKED,
    timestep_scale=1000.0,
)

register(FLUX2)
