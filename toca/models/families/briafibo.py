"""Bria FIBO: FLUX's blocks; half of the text's channels is put in anew before each of them (Bria AI, 2025)."""

from __future__ import annotations

from dataclasses import replace

from ...registry import register
from ..parallel_blocks import JOINED
from ..prediction import PACKED
from ..sites import feed_forward, parallel
from ..spec import BlockSpec, FamilySpec
from .bria import AROUND, ATTENTION, BATCHED
from .flux import DUAL, SIZES, grid

# A prompt is a long description in JSON.
FIBO_SIZES = replace(SIZES, text_tokens=3000)

BRIAFIBO = FamilySpec(
    name="briafibo",
    transformer="BriaFiboTransformer2DModel",
    stacks=(
        DUAL,
        BlockSpec("single", "single_transformer_blocks", parallel(), conditioning=("norm",), parallel=JOINED),
    ),
    # One projection for each layer of the language model.
    side=(BlockSpec("captions", "caption_projection", (feed_forward("", stream="text"),)),),
    call_shape=FIBO_SIZES.call_shape,
    default_shape=FIBO_SIZES.default_shape,
    attention=ATTENTION,
    around=AROUND,
    batched=(*BATCHED, "text_encoder_layers"),
    whole=("img_ids", "txt_ids", "return_dict"),
    free=("joint_attention_kwargs",),
    channel_dim=2,
    batched_cfg=True,
    grid=grid,
    input="x_embedder",
    prediction=PACKED,
)

register(BRIAFIBO)
