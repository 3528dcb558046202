"""HunyuanImage 2.1, its distilled line and its refiner: HunyuanVideo's blocks over a picture (Tencent, 2025)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..parallel_blocks import IMAGE_FIRST
from ..prediction import LATENTS, VIDEO, Prediction
from ..shape import CallShape
from ..sites import IMAGE_FIRST_STREAMS, dual_stream, parallel
from ..sizes import Others, Sizes
from ..spec import BlockSpec, FamilySpec
from .hunyuanvideo import REFINER

# The model puts the padding of both behind what is none; where each token then stands is all the same here.
TEXT = "glyphs+text"
BOTH = f"image+{TEXT}"


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Tokens of what shall be written in the picture."""
    glyphs = call.get("encoder_hidden_states_2")
    told = glyphs.shape[1] if glyphs is not None else 0 if call else 128
    return (("glyphs", 0 if config.text_embed_2_dim is None else told),)


PICTURE = Sizes(
    dims="BCHW",
    patch=lambda config: (1, *config.patch_size),
    latents=lambda config: (1, 64, 64),
    text_tokens=1000,
    others=_others,
)
# The refiner's picture has one frame, and the text is its own.
FRAMES = replace(
    PICTURE,
    dims="BCFHW",
    patch=lambda config: tuple(config.patch_size),
    latents=lambda config: (1, 128, 128),
    text_tokens=256,
)


def _call_shape(transformer: Any, call: dict[str, Any]) -> CallShape:
    sizes = FRAMES if call["hidden_states"].ndim == 5 else PICTURE
    return sizes.call_shape(transformer, call)


def _default_shape(
    config: Any, height: int | None, width: int | None, num_frames: int | None, text_tokens: int | None
) -> CallShape:
    sizes = FRAMES if len(config.patch_size) == 3 else PICTURE
    return sizes.default_shape(config, height, width, num_frames, text_tokens)


EITHER = Prediction(
    by_token=lambda prediction, shape: (VIDEO if prediction.ndim == 5 else LATENTS).by_token(prediction, shape),
    over=lambda values, shape, prediction: (VIDEO if prediction.ndim == 5 else LATENTS).over(
        values, shape, prediction
    ),
)

HUNYUANIMAGE = FamilySpec(
    name="hunyuanimage",
    transformer="HunyuanImageTransformer2DModel",
    stacks=(
        BlockSpec(
            "dual",
            "transformer_blocks",
            dual_stream(BOTH, text=TEXT),
            conditioning=("norm1", "norm1_context"),
            streams=IMAGE_FIRST_STREAMS,
            carries=("image", TEXT),
        ),
        BlockSpec(
            "single",
            "single_transformer_blocks",
            parallel(BOTH),
            conditioning=("norm",),
            streams=IMAGE_FIRST_STREAMS,
            carries=("image", TEXT),
            parallel=IMAGE_FIRST,
        ),
    ),
    side=(REFINER,),
    call_shape=_call_shape,
    default_shape=_default_shape,
    attention=Intercepted(positions=("image_rotary_emb",)),
    around=(
        ("x_embedder", "token"),
        ("context_embedder.time_text_embed", "sample"),
        ("context_embedder.proj_in", "text_token"),
        ("context_embedder_2", "glyphs"),
        ("time_guidance_embed", "sample"),
        ("norm_out", "sample"),
        ("proj_out", "token"),
    ),
    batched=(
        "hidden_states",
        "timestep",
        "timestep_r",
        "guidance",
        "encoder_hidden_states",
        "encoder_attention_mask",
        "encoder_hidden_states_2",
        "encoder_attention_mask_2",
    ),
    free=("attention_kwargs",),
    input="x_embedder",
    prediction=EITHER,
)

register(HUNYUANIMAGE)
