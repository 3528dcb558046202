"""Sana: linear self-attention, text by cross-attention, convolutional feed-forwards (Xie et al., arXiv 2410.10629)."""

from __future__ import annotations

from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..linears import linear_flops, out_features
from ..prediction import LATENTS
from ..sites import cross_attention, feed_forward, self_attention
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec

TEXT_TOKENS = 300

SIZES = Sizes(
    dims="BCHW",
    patch=lambda config: (1, config.patch_size, config.patch_size),
    latents=lambda config: (1, config.sample_size, config.sample_size),
    text_tokens=TEXT_TOKENS,
)


def linear_attention_flops(attn: Any) -> int:
    """Of one token: the linear layers, its part in the keys' sum over values and ones, and its query's look at it."""
    head = out_features(attn.to_q) // attn.heads
    return linear_flops(attn) + 2 * 2 * attn.heads * head * (head + 1)


# The norm before the feed-forward stays whole: what it makes is laid out as a picture.
SITES = (
    self_attention("attn1", "norm1", width=None, token_flops=linear_attention_flops),
    cross_attention("attn2"),
    feed_forward("ff", whole=True),
)
BATCHED = (
    "hidden_states",
    "encoder_hidden_states",
    "timestep",
    "guidance",
    "encoder_attention_mask",
    "attention_mask",
    "controlnet_block_samples",
)

SANA = FamilySpec(
    name="sana",
    transformer="SanaTransformer2DModel",
    stacks=(BlockSpec("main", "transformer_blocks", SITES),),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    attention=Intercepted(mapless=("SanaLinearAttnProcessor2_0",), drops=False),
    around=(
        ("patch_embed", "token"),
        ("time_embed", "sample"),
        ("caption_projection", "text_token"),
        ("proj_out", "token"),
    ),
    batched=BATCHED,
    free=("attention_kwargs",),
    batched_cfg=True,
    input="patch_embed",
    entry="patch_embed",
    prediction=LATENTS,
    added=("controlnet_block_samples",),
    # Each checkpoint scales the scheduler's by a number of its own, and Sprint's pipeline makes another one of it.
    timestep_scale=None,
)

register(SANA)
