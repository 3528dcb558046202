"""Chroma: FLUX.1 [schnell] with its modulation made by one small network (Lodestone Rock, 2025)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..parallel_blocks import MASKED
from ..prediction import PACKED
from ..sites import parallel
from ..sizes import Others
from ..spec import BlockSpec, FamilySpec
from .flux import DUAL, SIZES, grid


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Rows that the network makes for a sample: scales, shifts and gates of all blocks."""
    return (("modulation", 3 * config.num_single_layers + 12 * config.num_layers + 2),)


CHROMA_SIZES = replace(SIZES, others=_others)

CHROMA = FamilySpec(
    name="chroma",
    transformer="ChromaTransformer2DModel",
    stacks=(DUAL, BlockSpec("single", "single_transformer_blocks", parallel(), parallel=MASKED)),
    call_shape=CHROMA_SIZES.call_shape,
    default_shape=CHROMA_SIZES.default_shape,
    attention=Intercepted(positions=("image_rotary_emb",)),
    around=(
        ("distilled_guidance_layer", "modulation"),
        ("x_embedder", "token"),
        ("context_embedder", "text_token"),
        ("proj_out", "token"),
    ),
    # What a ControlNet has for the single blocks is written into their outputs: such calls are not named, and run in
    # full.
    batched=(
        "hidden_states",
        "encoder_hidden_states",
        "timestep",
        "attention_mask",
        "controlnet_block_samples",
        "ip_adapter_image_embeds",
        "ip_hidden_states",
    ),
    whole=("img_ids", "txt_ids", "controlnet_blocks_repeat", "ip_adapter_masks", "return_dict"),
    free=("joint_attention_kwargs",),
    by_row=("FluxIPAdapterAttnProcessor",),
    channel_dim=2,
    grid=grid,
    input="x_embedder",
    prediction=PACKED,
    added=("controlnet_block_samples",),
    timestep_scale=1000.0,
)

register(CHROMA)
