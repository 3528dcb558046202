"""Bria 3.2: FLUX's blocks, guided by two halves of a batch (Bria AI, 2025)."""

from __future__ import annotations

from dataclasses import replace

from ...registry import register
from ..intercepted import Intercepted
from ..prediction import PACKED
from ..spec import FamilySpec
from .flux import DUAL, SINGLE, SIZES, grid

BRIA_SIZES = replace(SIZES, text_tokens=128)
ATTENTION = Intercepted(positions=("image_rotary_emb",))
AROUND = (
    ("x_embedder", "token"),
    ("context_embedder", "text_token"),
    ("time_embed", "sample"),
    ("guidance_embed", "sample"),
    ("norm_out", "sample"),
    ("proj_out", "token"),
)
BATCHED = ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep", "guidance")

BRIA = FamilySpec(
    name="bria",
    transformer="BriaTransformer2DModel",
    stacks=(DUAL, SINGLE),
    call_shape=BRIA_SIZES.call_shape,
    default_shape=BRIA_SIZES.default_shape,
    attention=ATTENTION,
    around=AROUND,
    # What a ControlNet has for the single blocks is written into their outputs: such calls are not named, and run in
    # full.
    batched=(*BATCHED, "controlnet_block_samples"),
    whole=("img_ids", "txt_ids", "return_dict"),
    free=("attention_kwargs",),
    channel_dim=2,
    batched_cfg=True,
    grid=grid,
    input="x_embedder",
    prediction=PACKED,
    added=("controlnet_block_samples",),
)

register(BRIA)
