"""Kandinsky 5: pictures and video with their channels last, text by cross-attention (Kandinsky Lab, arXiv
2511.14993)."""

from __future__ import annotations

from ...registry import register
from ..intercepted import Intercepted
from ..positions import Positions
from ..prediction import VIDEO_CHANNELS_LAST
from ..sites import cross_attention, feed_forward, self_attention
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec

SIZES = Sizes(
    dims="BFHWC",
    patch=lambda config: tuple(config.patch_size),
    # 121 frames of 512 x 768 pixels.
    latents=lambda config: (31, 64, 96),
    text_tokens=512,
)
OWN, CONTEXT = ("to_query", "to_key", "to_value", "out_layer"), ("to_key", "to_value")
SELF_ATTENTION = self_attention("self_attention", "self_attention_norm", query_linears=OWN, width="to_query")
FEED_FORWARD = feed_forward("feed_forward", "feed_forward_norm")
CROSS_ATTENTION = cross_attention(
    "cross_attention",
    "cross_attention_norm",
    query_linears=("to_query", "out_layer"),
    text_linears=CONTEXT,
    width="to_query",
)
TEXT_BLOCKS = BlockSpec(
    "text",
    "text_transformer_blocks",
    (
        self_attention("self_attention", stream="text", query_linears=OWN, width="to_query"),
        feed_forward("feed_forward", stream="text"),
    ),
    conditioning=("text_modulation",),
)

# `sparse_params` is not named: attention of tiles (the models for ten seconds) has costs that hang on the picture, and
# tokens in another order.
KANDINSKY5 = FamilySpec(
    name="kandinsky5",
    transformer="Kandinsky5Transformer3DModel",
    stacks=(
        BlockSpec(
            "main",
            "visual_transformer_blocks",
            (SELF_ATTENTION, CROSS_ATTENTION, FEED_FORWARD),
            conditioning=("visual_modulation",),
            streams=("visual_embed",),
            main="visual_embed",
        ),
    ),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    attention=Intercepted(positions=(Positions("rotary_emb", dim=1),)),
    around=(
        ("visual_embeddings", "token"),
        ("text_embeddings", "text_token"),
        ("pooled_text_embeddings", "sample"),
        ("time_embeddings", "sample"),
        ("out_layer.modulation", "sample"),
        ("out_layer.out_layer", "token"),
    ),
    side=(TEXT_BLOCKS,),
    batched=("hidden_states", "timestep", "encoder_hidden_states", "pooled_projections"),
    whole=("visual_rope_pos", "text_rope_pos", "scale_factor", "return_dict"),
    channel_dim=4,
    input="visual_embeddings",
    output="out_layer",
    prediction=VIDEO_CHANNELS_LAST,
)

register(KANDINSKY5)
