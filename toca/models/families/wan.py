"""Wan 2.1 and 2.2: video, text (and for image-to-video a picture) by cross-attention (Wan Team, arXiv 2503.20314)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..positions import Positions
from ..prediction import VIDEO
from ..sites import cross_attention, feed_forward, self_attention
from ..sizes import Others, Sizes, times
from ..spec import BlockSpec, FamilySpec

TEXT_TOKENS = 512
PICTURE_TOKENS = 257
"""CLIP's, of the picture that a video begins with (Wan 2.1); they stand before the text."""


def others(config: Any, call: Mapping[str, Any]) -> Others:
    """Tokens of the given picture, and timesteps of a sample: one, or one a token (Wan 2.2 5B)."""
    picture = call.get("encoder_hidden_states_image")
    usual = PICTURE_TOKENS if not call and config.image_dim is not None else 0
    return (("picture", usual if picture is None else picture.shape[1]), *times(config, call))


def sizes(
    frames: int,
    rows: int,
    columns: int,
    dims: str = "BCFHW",
    others: Callable[[Any, Mapping[str, Any]], Others] = others,
) -> Sizes:
    """Those of Wan's kin, whose usual latents are of this size."""
    return Sizes(
        dims,
        patch=lambda config: tuple(config.patch_size),
        latents=lambda config: (frames, rows, columns),
        text_tokens=TEXT_TOKENS,
        others=others,
    )


# 81 frames of 480 x 832 pixels.
SIZES = sizes(21, 60, 104)
SITES = (
    self_attention("attn1", "norm1"),
    cross_attention("attn2", "norm2", context="picture+text", measured="text"),
    feed_forward("ffn", "norm3"),
)
BLOCKS = BlockSpec("main", "blocks", SITES)
# One row that holds all tokens' cosines, one their sines: (1, T, 1, D).
ATTENTION = Intercepted(positions=(Positions("rotary_emb", dim=1),))
AROUND = (
    ("patch_embedding", "token"),
    ("condition_embedder.time_embedder", "times"),
    ("condition_embedder.time_proj", "times"),
    ("condition_embedder.text_embedder", "text_token"),
    ("condition_embedder.image_embedder", "picture"),
    ("proj_out", "token"),
)
BATCHED = ("hidden_states", "timestep", "encoder_hidden_states", "encoder_hidden_states_image")

WAN = FamilySpec(
    name="wan",
    transformer="WanTransformer3DModel",
    stacks=(BLOCKS,),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    attention=ATTENTION,
    around=AROUND,
    batched=BATCHED,
    free=("attention_kwargs",),
    input="patch_embedding",
    prediction=VIDEO,
)

register(WAN)
