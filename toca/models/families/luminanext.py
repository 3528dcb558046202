"""Lumina-Next: self- and cross-attention side by side, into one output projection (Zhuo et al., arXiv 2406.18583)."""

from __future__ import annotations

from ...registry import register
from ..intercepted import Intercepted
from ..positions import Positions
from ..prediction import LATENTS
from ..sites import QKV, cross_attention, feed_forward, self_attention
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec

TEXT_TOKENS = 256

SIZES = Sizes(
    dims="BCHW",
    patch=lambda config: (1, config.patch_size, config.patch_size),
    latents=lambda config: (1, config.sample_size, config.sample_size),
    text_tokens=TEXT_TOKENS,
)
# Both attentions read one norm, and both hand on their heads (B, T, heads, D) as they are.
SITES = (
    self_attention("attn1", query_linears=QKV),
    cross_attention("attn2", query_linears=("to_q",)),
    feed_forward("feed_forward", "ffn_norm1", output="linear_2"),
)
TOGETHER = feed_forward("attn2.to_out")

LUMINANEXT = FamilySpec(
    name="luminanext",
    transformer="LuminaNextDiT2DModel",
    stacks=(BlockSpec("main", "layers", SITES, conditioning=("norm1",), beside=(TOGETHER,)),),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    # No tokens are dropped: how sharp its attention is depends on how many there are.
    attention=Intercepted(
        positions=tuple(Positions(name, dim=1) for name in ("query_rotary_emb", "key_rotary_emb")), drops=False
    ),
    around=(
        ("patch_embedder", "token"),
        ("time_caption_embed", "sample"),
        ("norm_out.linear_1", "sample"),
        ("norm_out.linear_2", "token"),
    ),
    batched=("hidden_states", "timestep", "encoder_hidden_states", "encoder_mask"),
    whole=("image_rotary_emb", "return_dict"),
    free=("cross_attention_kwargs",),
    batched_cfg=True,
    conditional_half=0,
    input="patch_embedder",
    output="norm_out.linear_2",
    prediction=LATENTS,
    # The model counts from 0, noise, to 1.
    timestep_scale=-1000.0,
    timestep_offset=1000.0,
)

register(LUMINANEXT)
