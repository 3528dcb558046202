"""Z-Image: image and text in one sequence, each after refiners of its own (Z-Image Team, arXiv 2511.22699).

Image and texts are padded to a multiple of 32, the image with tokens that are nobody's. The Omni variant takes several
pictures a sample, in lists of lists, and such calls run in full.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..positions import Positions
from ..prediction import VIDEO
from ..shape import CallShape
from ..sites import feed_forward, self_attention
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec

MULTIPLE = 32
TEXT_TOKENS = 128
"""Of a usual prompt: texts are cut to their length."""

SIZES = Sizes(
    dims="BCFHW",
    patch=lambda config: (config.all_f_patch_size[0], config.all_patch_size[0], config.all_patch_size[0]),
    latents=lambda config: (1, 128, 128),
    text_tokens=TEXT_TOKENS,
    text="cap_feats",
    argument="x",
)


def _padded(tokens: int) -> int:
    return tokens + -tokens % MULTIPLE


def _lengths(call: Mapping[str, Any]) -> list[int]:
    return [_padded(len(text)) for text in call["cap_feats"]]


def _with_padding(shape: CallShape, texts: list[int]) -> CallShape:
    """The texts are embedded as they are, and run as long as the longest."""
    padding = _padded(shape.image_tokens) - shape.image_tokens
    others = (("padding", padding), ("embedded", sum(texts) // len(texts)))
    return replace(shape, text_tokens=max(texts), others=others)


def _call_shape(transformer: Any, call: dict[str, Any]) -> CallShape:
    return _with_padding(SIZES.call_shape(transformer, call), _lengths(call))


def _default_shape(
    config: Any, height: int | None, width: int | None, num_frames: int | None, text_tokens: int | None
) -> CallShape:
    shape = SIZES.default_shape(config, height, width, num_frames, text_tokens)
    return _with_padding(shape, [_padded(shape.text_tokens)])


def _blocks(stack: str, path: str, stream: str) -> BlockSpec:
    sites = (
        self_attention("attention", "attention_norm1", stream=stream),
        feed_forward("feed_forward", "ffn_norm1", stream=stream, output="w2"),
    )
    return BlockSpec(stack, path, sites, conditioning=("adaLN_modulation",), streams=("x",), main="x")


LAYER = "all_final_layer.2-1"
TOKENS = ("token", "padding")

ZIMAGE = FamilySpec(
    name="zimage",
    transformer="ZImageTransformer2DModel",
    stacks=(_blocks("main", "layers", "image+padding+text"),),
    side=(
        _blocks("noise_refiner", "noise_refiner", "image+padding"),
        _blocks("context_refiner", "context_refiner", "text"),
    ),
    call_shape=_call_shape,
    default_shape=_default_shape,
    # One row of angles a sample: (B, T, D / 2).
    attention=Intercepted(positions=(Positions("freqs_cis", dim=1),)),
    around=(
        *(("all_x_embedder.2-1", unit) for unit in TOKENS),
        ("t_embedder", "sample"),
        ("cap_embedder", "embedded"),
        (f"{LAYER}.adaLN_modulation", "sample"),
        *((f"{LAYER}.linear", unit) for unit in (*TOKENS, "text_token")),
    ),
    latents="x",
    timestep="t",
    batched=("t", "controlnet_block_samples"),
    listed=("x", "cap_feats"),
    free=("joint_attention_kwargs",),
    batched_cfg=True,
    conditional_half=0,
    input="all_x_embedder.2-1",
    output=f"{LAYER}.linear",
    prediction=VIDEO,
    added=("controlnet_block_samples",),
    condition="cap_feats",
    # The model counts from 0, noise, to 1.
    timestep_scale=-1000.0,
    timestep_offset=1000.0,
    lengths=_lengths,
)

register(ZIMAGE)
