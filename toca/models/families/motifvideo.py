"""Motif-Video: dual-stream blocks, then parallel ones, image first; some look at the text once more (Motif
Technologies, 2025)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from ...registry import register
from ..intercepted import Intercepted
from ..parallel_block import Entered
from ..parallel_blocks import IMAGE_FIRST
from ..prediction import VIDEO
from ..shape import CallShape
from ..sites import IMAGE_FIRST_STREAMS, cross_attention, dual_stream, parallel
from ..sizes import Others, Sizes
from ..spec import BlockSpec, FamilySpec

CONTEXT = "picture+text"
ROW = f"image+{CONTEXT}"


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    picture = call.get("image_embeds")
    return (("picture", 0 if picture is None else picture.shape[1]),)


SIZES = Sizes(
    dims="BCFHW",
    patch=lambda config: (config.patch_size_t, config.patch_size, config.patch_size),
    # 121 frames of 736 x 1280 pixels.
    latents=lambda config: (31, 92, 160),
    text_tokens=512,
    others=_others,
)


def _default_shape(
    config: Any, height: int | None, width: int | None, num_frames: int | None, text_tokens: int | None
) -> CallShape:
    if config.num_decoder_layers:
        raise ValueError(
            "A MotifVideoTransformer3DModel with `num_decoder_layers` cannot be cached: its last blocks have the "
            "image once more where the text is in the others, and no plan knows of two images in one stack."
        )
    return SIZES.default_shape(config, height, width, num_frames, text_tokens)


def _attend(block: Any, entered: Entered, call: dict[str, Any]) -> torch.Tensor:
    """Attention that is handed image and text apart, and where there is one that of what the image got to the text."""
    image, text = entered.normed[:, : -entered.text_tokens], entered.normed[:, -entered.text_tokens :]
    given = {"attention_mask": call.get("attention_mask"), "image_rotary_emb": call.get("image_rotary_emb")}
    image, context = block.attn(hidden_states=image, encoder_hidden_states=text, **given)
    if block.cross_attn is not None:
        pictures = call.get("image_embed_seq_len", 0)
        image = image + block.cross_attn(image, text, image_embed_seq_len=pictures, **given)
    return torch.cat([image, context], dim=1)


ATTENTION, *FEED_FORWARDS = dual_stream(ROW, text=CONTEXT)

MOTIFVIDEO = FamilySpec(
    name="motifvideo",
    transformer="MotifVideoTransformer3DModel",
    stacks=(
        BlockSpec(
            "dual",
            "transformer_blocks",
            # The text's norm feeds both attentions.
            (replace(ATTENTION, norms=()), cross_attention("cross_attn"), *FEED_FORWARDS),
            conditioning=("norm1", "norm1_context"),
            streams=IMAGE_FIRST_STREAMS,
            carries=("image", CONTEXT),
        ),
        BlockSpec(
            "single",
            "single_transformer_blocks",
            (parallel(ROW)[0], cross_attention("cross_attn", inside="block"), parallel(ROW)[1]),
            conditioning=("norm",),
            streams=IMAGE_FIRST_STREAMS,
            carries=("image", CONTEXT),
            parallel=replace(IMAGE_FIRST, attend=_attend),
        ),
    ),
    call_shape=SIZES.call_shape,
    default_shape=_default_shape,
    attention=Intercepted(positions=("image_rotary_emb",)),
    around=(
        ("x_embedder", "token"),
        ("context_embedder", "text_token"),
        ("image_embedder", "picture"),
        ("time_text_embed", "sample"),
        ("norm_out", "sample"),
        ("proj_out", "token"),
    ),
    batched=("hidden_states", "timestep", "encoder_hidden_states", "encoder_attention_mask", "image_embeds"),
    free=("attention_kwargs",),
    input="x_embedder",
    prediction=VIDEO,
)

register(MOTIFVIDEO)
