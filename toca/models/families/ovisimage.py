"""Ovis-Image: FLUX's blocks with gated feed-forwards (Alibaba, arXiv 2511.22982)."""

from __future__ import annotations

from dataclasses import replace

from ...registry import register
from ..parallel_blocks import GATED_TEXT_FIRST
from ..prediction import PACKED
from ..spec import FamilySpec
from .bria import ATTENTION
from .flux import DUAL, SINGLE, SIZES, grid

OVIS_SIZES = replace(SIZES, text_tokens=256)

OVISIMAGE = FamilySpec(
    name="ovisimage",
    transformer="OvisImageTransformer2DModel",
    stacks=(DUAL, replace(SINGLE, parallel=GATED_TEXT_FIRST)),
    call_shape=OVIS_SIZES.call_shape,
    default_shape=OVIS_SIZES.default_shape,
    attention=ATTENTION,
    around=(
        ("x_embedder", "token"),
        ("context_embedder", "text_token"),
        ("timestep_embedder", "sample"),
        ("norm_out", "sample"),
        ("proj_out", "token"),
    ),
    batched=("hidden_states", "encoder_hidden_states", "timestep"),
    whole=("img_ids", "txt_ids", "return_dict"),
    free=("joint_attention_kwargs",),
    channel_dim=2,
    grid=grid,
    input="x_embedder",
    prediction=PACKED,
    timestep_scale=1000.0,
)

register(OVISIMAGE)
