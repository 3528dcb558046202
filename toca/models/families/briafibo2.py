"""Bria Fibo 2: gist tokens of the text, the image and images to edit in one sequence, every token with the modulation
of the noisy or the clean ones; some blocks look at the text besides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..positions import Positions
from ..shape import CallShape
from ..sites import cross_attention, feed_forward, self_attention
from ..spec import BlockSpec, FamilySpec

GIST, CONTEXT, CLEAN = "gist", "context", "clean"
ROW = f"{GIST}+image+{CONTEXT}"
LATENT_SIZE, TEXT_TOKENS = 128, 512


def gist_tokens(config: Any, text_tokens: int) -> int:
    """Gist tokens of a text: the longer the text the more, in steps, between bounds."""
    least, most, step = config.min_num_gist_tokens, config.max_num_gist_tokens, config.gist_step
    shortest, longest = config.gist_min_text_len, config.gist_max_text_len
    share = min(1.0, max(0.0, (text_tokens - shortest) / (longest - shortest)))
    return max(least, min(most, math.ceil((least + share * (most - least)) / step) * step))


def _lengths(call: Mapping[str, Any]) -> list[int]:
    mask = call.get("encoder_attention_mask")
    return [call["encoder_hidden_states"].shape[2]] if mask is None else mask.sum(dim=1).tolist()


def _shape(config: Any, batch: int, side: tuple[int, int], text: int, longest: int, context: int) -> CallShape:
    rows, columns = (pixels // config.patch_size for pixels in side)
    others = ((GIST, gist_tokens(config, longest)), (CONTEXT, context), (CLEAN, int(context > 0)))
    return CallShape(batch, rows * columns, (rows, columns), text, 1, others)


def _call_shape(transformer: Any, call: dict[str, Any]) -> CallShape:
    config, (batch, _, *side) = transformer.config, call["hidden_states"].shape
    given = (latents.shape for latents in call.get("context_latents") or ())
    context = sum(height // config.patch_size * (width // config.patch_size) for _, _, height, width in given)
    text = call["encoder_hidden_states"].shape[2]
    return _shape(config, batch, (side[0], side[1]), text, max(_lengths(call)), context)


def _default_shape(
    config: Any, height: int | None, width: int | None, num_frames: int | None, text_tokens: int | None
) -> CallShape:
    text = TEXT_TOKENS if text_tokens is None else text_tokens
    return _shape(config, 1, (height or LATENT_SIZE, width or LATENT_SIZE), text, text, 0)


MODULATION = "adaLN_modulation"

BRIAFIBO2 = FamilySpec(
    name="briafibo2",
    transformer="BriaFibo2Transformer2DModel",
    stacks=(
        BlockSpec(
            "main",
            "layers",
            (
                self_attention("attention", stream=ROW),
                cross_attention("cross_attention", stream=ROW),
                feed_forward("feed_forward", stream=ROW, output="w2"),
            ),
            # Of the noisy tokens, and of the clean ones.
            conditioning=(MODULATION, MODULATION),
            streams=("x",),
            main="x",
        ),
    ),
    call_shape=_call_shape,
    default_shape=_default_shape,
    attention=Intercepted(positions=(Positions("freqs_cis", dim=1),)),
    around=(
        ("x_embedder", "token"),
        ("x_embedder", CONTEXT),
        ("t_embedder", "sample"),
        ("t_embedder", "sample"),
        ("final_layer.linear", "token"),
        ("final_layer.adaLN_modulation", "sample"),
    ),
    side=(
        BlockSpec(
            "noise_refiner",
            "noise_refiner",
            (
                self_attention("attention", stream=f"image+{CONTEXT}"),
                feed_forward("feed_forward", stream=f"image+{CONTEXT}"),
                feed_forward(MODULATION, stream=CLEAN),
            ),
            conditioning=(MODULATION,),
        ),
        BlockSpec(
            "perceiver",
            "perceiver.layers",
            (
                cross_attention("cross_attention", stream=GIST),
                self_attention("self_attention", stream=GIST),
                feed_forward("ffn", stream=GIST),
            ),
        ),
    ),
    batched=("hidden_states", "timestep", "encoder_hidden_states", "encoder_attention_mask", "context_latents"),
    lengths=_lengths,
    input="x_embedder",
    output="final_layer.linear",
    timestep_scale=1000.0,
    modulation="token",
)

register(BRIAFIBO2)
