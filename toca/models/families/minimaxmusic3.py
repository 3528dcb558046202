"""MiniMax Music 3: music, with a token of the time before it; what it shall sound like comes with the latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..linears import linear_flops, weight_flops
from ..prediction import SOUND
from ..sites import feed_forward, self_attention
from ..sizes import Others, Sizes
from ..spec import BlockSpec, FamilySpec

ROW = "time+image"


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    return (("time", 1),)


SIZES = Sizes(
    dims="BCF",
    patch=lambda config: (1, 1, 1),
    latents=lambda config: (1500, 1, 1),
    text=None,
    others=_others,
)

register(
    FamilySpec(
        name="minimaxmusic3",
        transformer="MiniMaxMusic3Transformer1DModel",
        stacks=(
            BlockSpec(
                "main",
                "transformer_blocks",
                (
                    self_attention("attn", "norm1", stream=ROW),
                    # No module of its own: its first layer makes both what is gated and the gate.
                    feed_forward("ff_out", "ff_in", stream=ROW, token_flops=lambda last: 3 * linear_flops(last)),
                ),
            ),
        ),
        call_shape=SIZES.call_shape,
        default_shape=SIZES.default_shape,
        attention=Intercepted(positions=("rotary_emb",)),
        around=(
            ("preprocess_conv", "token"),
            (lambda transformer: weight_flops(transformer.time_proj), "sample"),
            ("time_embed", "sample"),
            ("proj_in", "token"),
            ("proj_out", "token"),
            ("postprocess_conv", "token"),
        ),
        batched=("hidden_states", "timestep", "encoder_hidden_states"),
        input="proj_in",
        in_channels=lambda config: config.in_channels,
        prediction=SOUND,
        timestep_rises=True,
    )
)
