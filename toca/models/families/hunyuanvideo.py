"""HunyuanVideo: dual-stream blocks, then parallel ones, image first (Kong et al., arXiv 2412.03603)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..parallel_blocks import IMAGE_FIRST
from ..prediction import VIDEO
from ..sites import IMAGE_FIRST_STREAMS, dual_stream, feed_forward, parallel, self_attention
from ..sizes import Others, Sizes
from ..spec import BlockSpec, FamilySpec
from ..streams import IMAGE_FIRST as IMAGE_AND_TEXT

TEXT_TOKENS = 256


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Timesteps of a sample: the tokens of a given frame that takes the first one's place have a second one."""
    return (("times", 2 if config.image_condition_type == "token_replace" else 1),)


SIZES = Sizes(
    dims="BCFHW",
    patch=lambda config: (config.patch_size_t, config.patch_size, config.patch_size),
    # 129 frames of 720 x 1280 pixels.
    latents=lambda config: (33, 90, 160),
    text_tokens=TEXT_TOKENS,
    others=_others,
)
REFINER = BlockSpec(
    "refiner",
    "context_embedder.token_refiner.refiner_blocks",
    (self_attention("attn", stream="text"), feed_forward("ff", stream="text")),
    conditioning=("norm_out",),
)
# Cosines and sines are the image's.
ATTENTION = Intercepted(positions=("image_rotary_emb",))
AROUND = (
    ("x_embedder", "token"),
    ("context_embedder.time_text_embed", "sample"),
    ("context_embedder.proj_in", "text_token"),
    ("time_text_embed.timestep_embedder", "times"),
    ("time_text_embed.text_embedder", "sample"),
    ("time_text_embed.guidance_embedder", "sample"),
    ("norm_out", "sample"),
    ("proj_out", "token"),
)
BATCHED = (
    "hidden_states",
    "timestep",
    "encoder_hidden_states",
    "encoder_attention_mask",
    "pooled_projections",
    "guidance",
)

HUNYUANVIDEO = FamilySpec(
    name="hunyuanvideo",
    transformer="HunyuanVideoTransformer3DModel",
    stacks=(
        BlockSpec(
            "dual",
            "transformer_blocks",
            dual_stream(IMAGE_AND_TEXT),
            conditioning=("norm1_context",),
            beside=(feed_forward("norm1", stream="times"),),
            streams=IMAGE_FIRST_STREAMS,
        ),
        BlockSpec(
            "single",
            "single_transformer_blocks",
            parallel(IMAGE_AND_TEXT),
            beside=(feed_forward("norm", stream="times"),),
            streams=IMAGE_FIRST_STREAMS,
            parallel=IMAGE_FIRST,
        ),
    ),
    side=(REFINER,),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    attention=ATTENTION,
    around=AROUND,
    batched=BATCHED,
    free=("attention_kwargs",),
    input="x_embedder",
    prediction=VIDEO,
)

register(HUNYUANVIDEO)
