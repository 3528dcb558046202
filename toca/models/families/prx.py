"""PRX: an image that attends to itself and to the text at once, and feed-forwards without a module of their own
(Photoroom, 2025)."""

from __future__ import annotations

from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..linears import linear_flops
from ..positions import Positions
from ..prediction import LATENTS
from ..sites import feed_forward, self_attention
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec

TEXT_TOKENS = 256

SIZES = Sizes(
    dims="BCHW",
    patch=lambda config: (1, config.patch_size, config.patch_size),
    # 512 x 512 pixels.
    latents=lambda config: (1, 64, 64),
    text_tokens=TEXT_TOKENS,
)


def _gated_flops(down: Any) -> int:
    """Of one token: three layers of one size."""
    return 3 * linear_flops(down)


# The text has keys and values and no queries, and stands before the image's own.
SITES = (
    self_attention(
        "attention", "img_pre_norm", query_linears=("img_qkv_proj", "to_out"), text_linears=("txt_kv_proj",),
        width="to_out.0", context="text",
    ),
    feed_forward("down_proj", "gate_proj", "up_proj", token_flops=_gated_flops),
)  # fmt: skip

PRX = FamilySpec(
    name="prx",
    transformer="PRXTransformer2DModel",
    stacks=(BlockSpec("main", "blocks", SITES, conditioning=("modulation",)),),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    # One row of rotations a sample: (B, 1, T, D / 2, 2, 2).
    attention=Intercepted(positions=(Positions("image_rotary_emb", dim=2),), own_keys="last"),
    around=(
        ("img_in", "token"),
        ("txt_in", "text_token"),
        ("time_in", "sample"),
        ("resolution_embedder", "sample"),
        ("final_layer.adaLN_modulation", "sample"),
        ("final_layer.linear", "token"),
    ),
    batched=("hidden_states", "timestep", "encoder_hidden_states", "attention_mask"),
    free=("attention_kwargs",),
    batched_cfg=True,
    input="img_in",
    output="final_layer.linear",
    prediction=LATENTS,
    timestep_scale=1000.0,
)

register(PRX)
