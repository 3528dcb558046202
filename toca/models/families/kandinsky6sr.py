"""Kandinsky 6 SR: one tile of a video after another, without a text (Kandinsky Lab, 2026)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..shape import CallShape
from ..sizes import Sizes
from ..spec import BlockSpec
from .kandinsky5 import FEED_FORWARD, KANDINSKY5, SELF_ATTENTION

SIZES = Sizes(
    dims="BFHWC",
    patch=lambda config: tuple(config.patch_size),
    # 121 frames of a tile of 512 x 512 pixels.
    latents=lambda config: (31, 32, 32),
    text=None,
)


def _call_shape(transformer: Any, call: dict[str, Any]) -> CallShape:
    """Tokens stand in tiles of 8 x 8, and form no grid."""
    return replace(SIZES.call_shape(transformer, call), grid=None)


register(
    replace(
        KANDINSKY5,
        name="kandinsky6sr",
        transformer="Kandinsky6SRTransformer3DModel",
        stacks=(
            BlockSpec(
                "main",
                "visual_transformer_blocks",
                (replace(SELF_ATTENTION, pooled=64), FEED_FORWARD),
                conditioning=("visual_modulation",),
            ),
        ),
        call_shape=_call_shape,
        default_shape=SIZES.default_shape,
        # FlexAttention, into which nobody can look.
        attention=Intercepted(measures=False, drops=False),
        around=(
            ("visual_embeddings", "token"),
            ("time_embeddings", "sample"),
            ("out_layer.modulation", "sample"),
            ("out_layer.out_layer", "token"),
        ),
        side=(),
        batched=("hidden_states", "timestep"),
        whole=("return_dict",),
        prediction=None,
    )
)
