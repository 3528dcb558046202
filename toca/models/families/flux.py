"""FLUX.1: dual-stream blocks with joint attention, then parallel single-stream blocks (Black Forest Labs, 2024)."""

from __future__ import annotations

from typing import Any

import torch

from ...registry import register
from ..attention import FLUX as FLUX_ATTENTION
from ..parallel_block import Entered, ParallelBlock
from ..prediction import PACKED
from ..shape import CallShape
from ..spec import BlockSpec, FamilySpec, SiteSpec
from ..streams import JOINT

TEXT_TOKENS = 512
LATENT_SIZE = 128
PACKING = 2
STREAMS = ("encoder_hidden_states", "hidden_states")


def _enter(block: Any, call: dict[str, Any]) -> Entered:
    text = call["encoder_hidden_states"]
    residual = torch.cat([text, call["hidden_states"]], dim=1)
    normed, gate = block.norm(residual, emb=call["temb"])
    return Entered(residual, normed, gate.unsqueeze(1), text.shape[1])


def _attend(block: Any, entered: Entered, call: dict[str, Any]) -> torch.Tensor:
    extra = call.get("joint_attention_kwargs") or {}
    return block.attn(hidden_states=entered.normed, image_rotary_emb=call.get("image_rotary_emb"), **extra)


def _mix(block: Any, normed: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
    return block.proj_out(torch.cat([attention, block.act_mlp(block.proj_mlp(normed))], dim=-1))


def _leave(entered: Entered, fused: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    hidden_states = entered.residual + entered.gate * fused
    if hidden_states.dtype == torch.float16:
        hidden_states = hidden_states.clip(-65504, 65504)
    return hidden_states[:, : entered.text_tokens], hidden_states[:, entered.text_tokens :]


def _call_shape(transformer: Any, call: dict[str, Any]) -> CallShape:
    batch, tokens, _ = call["hidden_states"].shape
    return CallShape(batch, tokens, text_tokens=call["encoder_hidden_states"].shape[1])


def _default_shape(
    config: Any, height: int | None, width: int | None, num_frames: int | None, text_tokens: int | None
) -> CallShape:
    grid = ((height or LATENT_SIZE) // PACKING, (width or LATENT_SIZE) // PACKING)
    return CallShape(1, grid[0] * grid[1], grid, TEXT_TOKENS if text_tokens is None else text_tokens)


def _grid(call: dict[str, Any]) -> tuple[int, int] | None:
    """Read from the positions of the image tokens (T, 3): one look at the device, at the start of a generation.

    Several images of one size are several grids; of other sizes (a reference image in the sequence) none.
    """
    ids = call["img_ids"]
    rows, columns = (int(last) + 1 for last in (ids[0] if ids.ndim == 3 else ids)[:, 1:].amax(dim=0).tolist())
    return None if ids.shape[-2] % (rows * columns) else (rows, columns)


DUAL_ATTENTION = SiteSpec(
    "self_attn",
    "attn",
    "attention",
    stream=JOINT,
    query_linears=("to_q", "to_k", "to_v", "to_out"),
    text_linears=("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
    norms=("norm1.norm", "norm1_context.norm"),
    width="to_q",
)
SINGLE_ATTENTION = SiteSpec(
    "self_attn",
    "attn",
    "attention",
    stream=JOINT,
    inside="block",
    query_linears=("to_q", "to_k", "to_v"),
    width="to_q",
)
SINGLE_BLOCK = SiteSpec(
    "block",
    "",
    "parallel_block",
    stream=JOINT,
    query_linears=("proj_mlp", "proj_out"),
    norms=("norm.norm",),
)

FLUX = FamilySpec(
    name="flux",
    transformer="FluxTransformer2DModel",
    stacks=(
        BlockSpec(
            "dual",
            "transformer_blocks",
            (
                DUAL_ATTENTION,
                SiteSpec("ff", "ff", "feed_forward", norms=("norm2",)),
                SiteSpec("ff_context", "ff_context", "feed_forward", stream="text", norms=("norm2_context",)),
            ),
            conditioning=("norm1", "norm1_context"),
            streams=STREAMS,
        ),
        BlockSpec(
            "single",
            "single_transformer_blocks",
            (
                SINGLE_ATTENTION,
                SINGLE_BLOCK,
            ),
            conditioning=("norm",),
            streams=STREAMS,
            parallel=ParallelBlock(_enter, _attend, _mix, _leave),
        ),
    ),
    call_shape=_call_shape,
    default_shape=_default_shape,
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
    grid=_grid,
    input="x_embedder",
    prediction=PACKED,
    added=("controlnet_block_samples", "controlnet_single_block_samples"),
    timestep_scale=1000.0,
)

register(FLUX)
