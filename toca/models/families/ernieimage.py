"""ERNIE-Image: image and text in one sequence, with the tokens in the first dimension (Baidu, 2026)."""

from __future__ import annotations

from ...registry import register
from ..intercepted import Intercepted
from ..positions import Positions
from ..prediction import LATENTS
from ..sites import feed_forward, self_attention
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec
from ..streams import IMAGE_FIRST

TEXT_TOKENS = 128
"""Of a usual prompt: texts are padded to the longest of a call."""

SIZES = Sizes(
    dims="BCHW",
    patch=lambda config: (1, config.patch_size, config.patch_size),
    # 1024 x 1024 pixels.
    latents=lambda config: (1, 64, 64),
    text_tokens=TEXT_TOKENS,
    text="text_bth",
)
# What modulates is laid out token by token: the norms stay whole, and no tokens are dropped.
SITES = (self_attention("self_attention", stream=IMAGE_FIRST), feed_forward("mlp", stream=IMAGE_FIRST))

ERNIEIMAGE = FamilySpec(
    name="ernieimage",
    transformer="ErnieImageTransformer2DModel",
    stacks=(BlockSpec("main", "layers", SITES, streams=("x",), main="x", tokens_first=True),),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    # One row of angles a sample: (B, T, 1, D).
    attention=Intercepted(positions=(Positions("image_rotary_emb", dim=1),), drops=False),
    around=(
        ("x_embedder", "token"),
        ("text_proj", "text_token"),
        ("time_embedding", "sample"),
        ("adaLN_modulation", "sample"),
        ("final_norm", "sample"),
        ("final_linear", "token"),
        ("final_linear", "text_token"),
    ),
    batched=("hidden_states", "timestep", "text_bth", "text_lens"),
    batched_cfg=True,
    input="x_embedder",
    output="final_linear",
    prediction=LATENTS,
    condition="text_bth",
    modulation="sample",
)

register(ERNIEIMAGE)
