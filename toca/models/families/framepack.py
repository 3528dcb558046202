"""FramePack: HunyuanVideo's blocks over the frames so far, in three sizes, and those to come (arXiv 2504.12626)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

from ...registry import register
from ..parallel_blocks import IMAGE_FIRST
from ..prediction import VIDEO
from ..shape import CallShape
from ..sites import IMAGE_FIRST_STREAMS, dual_stream, parallel
from ..sizes import Others, Sizes, no_others
from ..spec import BlockSpec, FamilySpec
from .hunyuanvideo import AROUND, ATTENTION, BATCHED, REFINER, TEXT_TOKENS

HISTORY = {
    "history_4x": ("latents_history_4x", (4, 8, 8), 16),
    "history_2x": ("latents_history_2x", (2, 4, 4), 2),
    "clean": ("latents_clean", (1, 2, 2), 2),
}
"""The frames so far, in the order in which they stand: argument, latent pixels of a token, usual number of frames."""
IMAGE = f"{'+'.join(HISTORY)}+image"
TEXT = "picture+words"
BOTH = f"{IMAGE}+{TEXT}"


def _tokens(size: tuple[int, ...], patch: tuple[int, ...]) -> int:
    """Tokens of padded latents."""
    return prod(-(-pixels // each) for pixels, each in zip(size, patch, strict=True))


def _words(call: Mapping[str, Any]) -> int:
    """The text's tokens that go through the blocks: of one sample those that are no padding. The model waits for the
    same number."""
    mask = call["encoder_attention_mask"]
    return int(mask.sum()) if mask.shape[0] == 1 else mask.shape[1]


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    history = tuple((name, _tokens(call[given].shape[2:], patch)) for name, (given, patch, _) in HISTORY.items())
    return (*history, ("picture", call["image_embeds"].shape[1]), ("words", _words(call)), ("times", 1))


def _why_together(call: Mapping[str, Any]) -> str | None:
    """Of one sample the padding is cut off, of several it is not."""
    if call["encoder_attention_mask"].shape[0] == 1:
        return None
    return "A sample alone has another number of words than in a batch: the samples decide together."


SIZES = Sizes(
    dims="BCFHW",
    patch=lambda config: (config.patch_size_t, config.patch_size, config.patch_size),
    # A section of nine frames of 720 x 1280 pixels.
    latents=lambda config: (9, 90, 160),
    text_tokens=TEXT_TOKENS,
    others=_others,
)


def _default_shape(
    config: Any, height: int | None, width: int | None, num_frames: int | None, text_tokens: int | None
) -> CallShape:
    shape = replace(SIZES, others=no_others).default_shape(config, height, width, num_frames, text_tokens)
    rows, columns = (tokens * config.patch_size for tokens in shape.known_grid)
    history = ((name, _tokens((frames, rows, columns), patch)) for name, (_, patch, frames) in HISTORY.items())
    return replace(shape, others=(*history, ("picture", 729), ("words", shape.text_tokens), ("times", 1)))


FRAMEPACK = FamilySpec(
    name="framepack",
    transformer="HunyuanVideoFramepackTransformer3DModel",
    stacks=(
        BlockSpec(
            "dual",
            "transformer_blocks",
            dual_stream(BOTH, IMAGE, TEXT),
            conditioning=("norm1", "norm1_context"),
            streams=IMAGE_FIRST_STREAMS,
            carries=(IMAGE, TEXT),
        ),
        BlockSpec(
            "single",
            "single_transformer_blocks",
            parallel(BOTH),
            conditioning=("norm",),
            streams=IMAGE_FIRST_STREAMS,
            carries=(IMAGE, TEXT),
            parallel=IMAGE_FIRST,
        ),
    ),
    side=(REFINER,),
    call_shape=SIZES.call_shape,
    default_shape=_default_shape,
    attention=replace(ATTENTION, chooses=False),
    around=(
        *AROUND,
        ("image_projection", "picture"),
        ("clean_x_embedder.proj", "clean"),
        ("clean_x_embedder.proj_2x", "history_2x"),
        ("clean_x_embedder.proj_4x", "history_4x"),
    ),
    batched=(*BATCHED, "image_embeds", *(argument for argument, *_ in HISTORY.values())),
    whole=(
        "indices_latents",
        "indices_latents_clean",
        "indices_latents_history_2x",
        "indices_latents_history_4x",
        "return_dict",
    ),
    free=("attention_kwargs",),
    together=_why_together,
    input="x_embedder",
    prediction=VIDEO,
)

register(FRAMEPACK)
