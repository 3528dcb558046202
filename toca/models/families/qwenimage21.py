"""Qwen-Image 2.1: text and image in one sequence; the text sees itself alone, and is modulated as at timestep 0.

Calls with pictures to edit, which stand within the text, run in full, and so do those that write or read keys and
values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..linears import linear_flops
from ..shape import CallShape
from ..sites import feed_forward, self_attention
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec
from ..streams import JOINT, TEXT

SIZES = Sizes(dims="BTC", patch=lambda config: (1, 1, 1), latents=lambda config: (1, 64, 64), text_tokens=128)
CONDITIONING = ("time_text_embed", "modulation", "norm_out")


def _call_shape(transformer: Any, call: dict[str, Any]) -> CallShape:
    shape = SIZES.call_shape(transformer, call)
    _, rows, columns = call["img_shapes"][0][-1]
    return CallShape(shape.batch, rows * columns, (rows, columns), shape.text_tokens)


def _one_picture(img_shapes: Any) -> bool:
    return all(len(pictures) == 1 for pictures in img_shapes)


def _at_zero(path: str) -> Callable[[Any], int]:
    """FLOPs of a module for the one row of timestep 0, which the text of all samples shares."""
    return lambda model: linear_flops(model.get_submodule(path)) if model.config.causal_condition else 0


QWENIMAGE21 = FamilySpec(
    name="qwenimage21",
    transformer="QwenImage21Transformer2DModel",
    stacks=(
        BlockSpec(
            "main",
            "transformer_blocks",
            (
                self_attention("attn", stream=JOINT, causal=TEXT),
                feed_forward("img_mlp", stream=JOINT, output="out"),
            ),
        ),
    ),
    call_shape=_call_shape,
    default_shape=SIZES.default_shape,
    # A product for the text and one for the image.
    attention=Intercepted(positions=("rotary_emb",), drops=False),
    around=(
        ("img_in", "token"),
        ("txt_in", "text_token"),
        *((path, "sample") for path in CONDITIONING),
        *((_at_zero(path), "call") for path in CONDITIONING),
        ("proj_out", "token"),
        ("proj_out", "text_token"),
    ),
    batched=("hidden_states", "encoder_hidden_states", "encoder_hidden_states_mask", "timestep", "img_mask"),
    listed=("img_shapes",),
    free=("attention_kwargs",),
    only={"img_shapes": _one_picture},
    channel_dim=2,
    input="img_in",
    predicts=JOINT,
    timestep_scale=1000.0,
    modulation="token",
)

register(QWENIMAGE21)
