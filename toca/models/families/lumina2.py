"""Lumina-Image 2.0: text and image in one sequence, each after refiners of its own (Qin et al., arXiv 2503.21758).

The padding of a text goes through its refiners and not into the sequence, in which the image of each sample follows
upon its own text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..positions import Positions
from ..prediction import LATENTS
from ..shape import CallShape
from ..sites import feed_forward, self_attention
from ..sizes import Others, Sizes
from ..spec import BlockSpec, FamilySpec
from ..streams import JOINT

TEXT_TOKENS = 256


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Tokens of the text with its padding."""
    return (("padded", call["encoder_hidden_states"].shape[1] if call else TEXT_TOKENS),)


SIZES = Sizes(
    dims="BCHW",
    patch=lambda config: (1, config.patch_size, config.patch_size),
    latents=lambda config: (1, config.sample_size, config.sample_size),
    text_tokens=TEXT_TOKENS,
    others=_others,
)


def _lengths(call: Mapping[str, Any]) -> list[int]:
    lengths: list[int] = call["encoder_attention_mask"].sum(dim=1).tolist()
    return lengths


def _call_shape(transformer: Any, call: dict[str, Any]) -> CallShape:
    return replace(SIZES.call_shape(transformer, call), text_tokens=max(_lengths(call)))


def _default_shape(
    config: Any, height: int | None, width: int | None, num_frames: int | None, text_tokens: int | None
) -> CallShape:
    shape = SIZES.default_shape(config, height, width, num_frames, text_tokens)
    return replace(shape, others=(("padded", max(shape.text_tokens, TEXT_TOKENS)),))


def _blocks(stack: str, path: str, stream: str) -> BlockSpec:
    sites = (
        self_attention("attn", "norm1.norm", stream=stream),
        feed_forward("feed_forward", "ffn_norm1", stream=stream, output="linear_2"),
    )
    return BlockSpec(stack, path, sites, conditioning=("norm1",))


LUMINA2 = FamilySpec(
    name="lumina2",
    transformer="Lumina2Transformer2DModel",
    stacks=(_blocks("main", "layers", JOINT),),
    side=(
        _blocks("noise_refiner", "noise_refiner", "image"),
        _blocks("context_refiner", "context_refiner", "padded"),
    ),
    call_shape=_call_shape,
    default_shape=_default_shape,
    # One row of angles a sample: (B, T, D / 2).
    attention=Intercepted(positions=(Positions("image_rotary_emb", dim=1),), chooses=False),
    around=(
        ("x_embedder", "token"),
        ("time_caption_embed.timestep_embedder", "sample"),
        ("time_caption_embed.caption_embedder", "padded"),
        ("norm_out.linear_1", "sample"),
        ("norm_out.linear_2", "token"),
        ("norm_out.linear_2", "text_token"),
    ),
    batched=("hidden_states", "timestep", "encoder_hidden_states", "encoder_attention_mask"),
    free=("attention_kwargs",),
    input="x_embedder",
    output="norm_out.linear_2",
    prediction=LATENTS,
    # The model counts from 0, noise, to 1.
    timestep_scale=-1000.0,
    timestep_offset=1000.0,
    lengths=_lengths,
)

register(LUMINA2)
