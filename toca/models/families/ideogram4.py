"""Ideogram 4: text and image in one sequence that the pipeline lays out (Ideogram, 2026).

The model is given the whole row, and returns one, with zeros where the text is; which tokens are the text's is told
by numbers on the device. So all tokens of the row are the image's here, and the text's are chosen, or not, like any.
"""

from __future__ import annotations

from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..positions import Positions
from ..prediction import PACKED
from ..sites import feed_forward, self_attention
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec

SIZES = Sizes(
    dims="BTC",
    patch=lambda config: (1, 2, 2),
    # 1024 x 1024 pixels.
    latents=lambda config: (1, 128, 128),
    text=None,
)
SITES = (
    self_attention("attention", "attention_norm1"),
    feed_forward("feed_forward", "ffn_norm1", output="w2"),
)


def _angles_flops(attn: Any) -> int:
    """Of one token: its three positions x the frequencies, which the model makes as products of matrices."""
    return int(3 * attn.head_dim)


ANGLES = BlockSpec("angles", "layers.0.attention", (feed_forward("", token_flops=_angles_flops),))

IDEOGRAM4 = FamilySpec(
    name="ideogram4",
    transformer="Ideogram4Transformer2DModel",
    stacks=(BlockSpec("main", "layers", SITES, conditioning=("adaln_modulation",)),),
    side=(ANGLES,),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    # One row of angles a sample: (B, T, D).
    attention=Intercepted(positions=(Positions("image_rotary_emb", dim=1),)),
    around=(
        ("input_proj", "token"),
        ("llm_cond_proj", "token"),
        ("t_embedding", "sample"),
        ("adaln_proj", "sample"),
        ("final_layer.adaln_modulation", "sample"),
        ("final_layer.linear", "token"),
    ),
    batched=("hidden_states", "timestep", "encoder_hidden_states", "position_ids", "segment_ids", "indicator"),
    free=("attention_kwargs",),
    channel_dim=2,
    input="input_proj",
    output="final_layer.linear",
    prediction=PACKED,
    # The model counts from 0, noise, to 1.
    timestep_scale=-1000.0,
    timestep_offset=1000.0,
)

register(IDEOGRAM4)
