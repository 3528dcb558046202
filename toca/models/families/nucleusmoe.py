"""Nucleus-Image: an image that attends to itself and to the text at once, and experts that choose the tokens that they
work on (Nucleus AI, 2026)."""

from __future__ import annotations

from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..linears import linear_flops
from ..positions import Positions
from ..prediction import PACKED
from ..sites import SELF_LINEARS, feed_forward, self_attention
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec

TEXT_TOKENS = 256

SIZES = Sizes(
    dims="BTC",
    patch=lambda config: (1, 2, 2),
    # 1024 x 1024 pixels.
    latents=lambda config: (1, 128, 128),
    text_tokens=TEXT_TOKENS,
)


def _grid(call: dict[str, Any]) -> tuple[int, int] | None:
    shapes = set(map(tuple, call["img_shapes"]))
    return next(iter(shapes))[1:] if len(shapes) == 1 else None


def _experts_flops(layer: Any) -> int:
    """Of one token: the router, the expert that all share, and as many others as choose a token on an average."""
    one = 2 * layer.experts.moe_intermediate_dim * layer.experts.hidden_size * 3
    return linear_flops(layer.gate) + linear_flops(layer.shared_expert) + int(layer.capacity_factor * one)


# The text has keys and values and no queries, and stands after the image's own. Some blocks have a plain feed-forward.
ATTENTION = self_attention(
    "attn", "pre_attn_norm", query_linears=SELF_LINEARS, text_linears=("add_k_proj", "add_v_proj"), context="text"
)
EXPERTS = feed_forward("img_mlp", whole=True, token_flops=_experts_flops, unless="img_mlp.net", output="shared_expert")
PLAIN = feed_forward("img_mlp", unless="img_mlp.experts")

NUCLEUSMOE = FamilySpec(
    name="nucleusmoe",
    transformer="NucleusMoEImageTransformer2DModel",
    stacks=(
        BlockSpec(
            "main",
            "transformer_blocks",
            (ATTENTION, EXPERTS, PLAIN),
            conditioning=("img_mod",),
            beside=(feed_forward("encoder_proj", stream="text"),),
        ),
    ),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    # Rotations of the image (T, D / 2), and of the text.
    attention=Intercepted(positions=(Positions("image_rotary_emb", items=(0,)),)),
    around=(
        ("img_in", "token"),
        ("time_text_embed", "sample"),
        ("norm_out", "sample"),
        ("proj_out", "token"),
    ),
    batched=("hidden_states", "encoder_hidden_states", "encoder_hidden_states_mask", "timestep"),
    listed=("img_shapes",),
    free=("attention_kwargs",),
    channel_dim=2,
    grid=_grid,
    input="img_in",
    prediction=PACKED,
    timestep_scale=1000.0,
)

register(NUCLEUSMOE)
