"""LongCat-Image and its Edit line: FLUX's blocks (Meituan, arXiv 2512.07584)."""

from __future__ import annotations

from ...registry import register
from ..prediction import PACKED
from ..spec import FamilySpec
from .bria import AROUND, ATTENTION
from .flux import DUAL, SINGLE, SIZES, grid

LONGCATIMAGE = FamilySpec(
    name="longcatimage",
    transformer="LongCatImageTransformer2DModel",
    stacks=(DUAL, SINGLE),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    attention=ATTENTION,
    around=AROUND,
    batched=("hidden_states", "encoder_hidden_states", "timestep", "guidance"),
    whole=("img_ids", "txt_ids", "return_dict"),
    channel_dim=2,
    grid=grid,
    input="x_embedder",
    prediction=PACKED,
    timestep_scale=1000.0,
)

register(LONGCATIMAGE)
