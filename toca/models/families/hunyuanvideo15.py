"""HunyuanVideo 1.5: dual-stream blocks alone; the text is a caption, glyphs and a picture (arXiv 2511.18870)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...registry import register
from ..prediction import VIDEO
from ..sites import IMAGE_FIRST_STREAMS, dual_stream
from ..sizes import Others, Sizes
from ..spec import BlockSpec, FamilySpec
from .hunyuanvideo import ATTENTION, REFINER

# The model puts the padding of all three behind what is none; where each token then stands is all the same here.
CONTEXT = "picture+glyphs+text"


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    glyphs, picture = call.get("encoder_hidden_states_2"), call.get("image_embeds")
    return (
        ("glyphs", 256 if glyphs is None else glyphs.shape[1]),
        ("picture", 729 if picture is None else picture.shape[1]),
    )


SIZES = Sizes(
    dims="BCFHW",
    patch=lambda config: (config.patch_size_t, config.patch_size, config.patch_size),
    # 121 frames of 480 x 848 pixels.
    latents=lambda config: (31, 30, 53),
    text_tokens=1000,
    others=_others,
)

HUNYUANVIDEO15 = FamilySpec(
    name="hunyuanvideo15",
    transformer="HunyuanVideo15Transformer3DModel",
    stacks=(
        BlockSpec(
            "main",
            "transformer_blocks",
            dual_stream(f"image+{CONTEXT}", text=CONTEXT),
            conditioning=("norm1", "norm1_context"),
            streams=IMAGE_FIRST_STREAMS,
            carries=("image", CONTEXT),
        ),
    ),
    side=(REFINER,),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    attention=ATTENTION,
    around=(
        ("x_embedder", "token"),
        ("image_embedder", "picture"),
        ("context_embedder.time_text_embed", "sample"),
        ("context_embedder.proj_in", "text_token"),
        ("context_embedder_2", "glyphs"),
        ("time_embed", "sample"),
        ("norm_out", "sample"),
        ("proj_out", "token"),
    ),
    batched=(
        "hidden_states",
        "timestep",
        "timestep_r",
        "encoder_hidden_states",
        "encoder_attention_mask",
        "encoder_hidden_states_2",
        "encoder_attention_mask_2",
        "image_embeds",
    ),
    free=("attention_kwargs",),
    input="x_embedder",
    prediction=VIDEO,
)

register(HUNYUANVIDEO15)
