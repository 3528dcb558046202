"""FLUX.1: dual-stream blocks with joint attention, then parallel single-stream blocks (Black Forest Labs, 2024)."""

from __future__ import annotations

from typing import Any

from ...registry import register
from ..attention import FLUX as FLUX_ATTENTION
from ..parallel_blocks import TEXT_FIRST
from ..prediction import PACKED
from ..sites import TEXT_FIRST_STREAMS, dual_stream, parallel
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec

TEXT_TOKENS = 512

SIZES = Sizes(
    dims="BTC", patch=lambda config: (1, 2, 2), latents=lambda config: (1, 128, 128), text_tokens=TEXT_TOKENS
)


def grid(call: dict[str, Any]) -> tuple[int, int] | None:
    """Read from the positions of the image tokens (T, 3 or more), row and column after the first: one look at the
    device, at the start of a generation.

    Several images of one size are several grids; of other sizes (a reference image in the sequence) none.
    """
    ids = call["img_ids"]
    rows, columns = (int(last) + 1 for last in (ids[0] if ids.ndim == 3 else ids)[:, 1:3].amax(dim=0).tolist())
    return None if ids.shape[-2] % (rows * columns) else (rows, columns)


DUAL = BlockSpec(
    "dual", "transformer_blocks", dual_stream(), conditioning=("norm1", "norm1_context"), streams=TEXT_FIRST_STREAMS
)
SINGLE = BlockSpec(
    "single",
    "single_transformer_blocks",
    parallel(),
    conditioning=("norm",),
    streams=TEXT_FIRST_STREAMS,
    parallel=TEXT_FIRST,
)

FLUX = FamilySpec(
    name="flux",
    transformer="FluxTransformer2DModel",
    stacks=(DUAL, SINGLE),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    attention=FLUX_ATTENTION,
    around=(
        ("x_embedder", "token"),
        ("context_embedder", "text_token"),
        ("time_text_embed", "sample"),
        ("norm_out", "sample"),
        ("proj_out", "token"),
    ),
    batched=(
        "hidden_states",
        "encoder_hidden_states",
        "pooled_projections",
        "timestep",
        "guidance",
        "controlnet_block_samples",
        "controlnet_single_block_samples",
        "ip_adapter_image_embeds",
        "ip_hidden_states",
    ),
    whole=("img_ids", "txt_ids", "controlnet_blocks_repeat", "ip_adapter_masks", "return_dict"),
    free=("joint_attention_kwargs",),
    channel_dim=2,
    grid=grid,
    input="x_embedder",
    prediction=PACKED,
    added=("controlnet_block_samples", "controlnet_single_block_samples"),
    timestep_scale=1000.0,
)

register(FLUX)
