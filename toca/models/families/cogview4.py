"""CogView4: joint attention, and one feed-forward that runs on the image and then on the text (Zhipu AI, 2025)."""

from __future__ import annotations

from dataclasses import replace

from ...registry import register
from ..intercepted import Intercepted
from ..sites import feed_forward, self_attention, text_feed_forward
from ..spec import BlockSpec
from ..streams import JOINT
from .cogview3plus import COGVIEW3PLUS, SIZES, STREAMS

TEXT_TOKENS = 128
"""Of a usual prompt: texts are padded to a multiple of 16."""

COGVIEW4_SIZES = replace(SIZES, text_tokens=TEXT_TOKENS)
SITES = (
    self_attention("attn1", "norm1.norm", "norm1.norm_context", stream=JOINT),
    feed_forward("ff", "norm2"),
    text_feed_forward("ff", "norm2_context"),
)
BLOCKS = BlockSpec("main", "transformer_blocks", SITES, conditioning=("norm1",), streams=STREAMS)

COGVIEW4 = replace(
    COGVIEW3PLUS,
    name="cogview4",
    transformer="CogView4Transformer2DModel",
    stacks=(BLOCKS,),
    call_shape=COGVIEW4_SIZES.call_shape,
    default_shape=COGVIEW4_SIZES.default_shape,
    # Angles of the image alone, (image tokens, D).
    attention=Intercepted(positions=("image_rotary_emb",)),
    whole=("image_rotary_emb", "return_dict"),
    free=("attention_kwargs",),
    batched_cfg=False,
)

register(COGVIEW4)
