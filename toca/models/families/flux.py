"""FLUX.1: dual-stream blocks with joint attention, then parallel single-stream blocks (Black Forest Labs, 2024)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ...registry import register
from ..attention import FLUX as FLUX_ATTENTION
from ..prediction import PACKED
from ..shape import CallShape
from ..spec import BlockSpec, FamilySpec, SiteSpec

TEXT_TOKENS = 512
LATENT_SIZE = 128
PACKING = 2
STREAMS = ("encoder_hidden_states", "hidden_states")


class Entered(NamedTuple):
    """What a parallel block works with: the residual and the normalised stream (B, T, C), and the gate (B, 1, C)."""

    residual: torch.Tensor
    normed: torch.Tensor
    gate: torch.Tensor
    text_tokens: int


@dataclass(frozen=True)
class ParallelBlock:
    """The pieces of a block whose attention and feed-forward run side by side into one output projection.

    Args:
        enter (`Callable`): `(block, call) -> Entered`.
        attend (`Callable`): `(block, Entered, call) -> attention output (B, T, C)`, before the output projection.
        mix (`Callable`): `(block, normed rows, attention rows) -> fused output rows`, before the gate; token-local.
        leave (`Callable`): `(Entered, fused output) -> what the block returns`.
    """

    enter: Callable
    attend: Callable
    mix: Callable
    leave: Callable


def _enter(block, call: dict) -> Entered:
    text = call["encoder_hidden_states"]
    residual = torch.cat([text, call["hidden_states"]], dim=1)
    normed, gate = block.norm(residual, emb=call["temb"])
    return Entered(residual, normed, gate.unsqueeze(1), text.shape[1])


def _attend(block, entered: Entered, call: dict) -> torch.Tensor:
    extra = call.get("joint_attention_kwargs") or {}
    return block.attn(hidden_states=entered.normed, image_rotary_emb=call.get("image_rotary_emb"), **extra)


def _mix(block, normed: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
    return block.proj_out(torch.cat([attention, block.act_mlp(block.proj_mlp(normed))], dim=-1))


def _leave(entered: Entered, fused: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    hidden_states = entered.residual + entered.gate * fused
    if hidden_states.dtype == torch.float16:
        hidden_states = hidden_states.clip(-65504, 65504)
    return hidden_states[:, : entered.text_tokens], hidden_states[:, entered.text_tokens :]


def _call_shape(transformer, call: dict) -> CallShape:
    batch, tokens, _ = call["hidden_states"].shape
    return CallShape(batch, tokens, text_tokens=call["encoder_hidden_states"].shape[1])


def _default_shape(config, height, width, num_frames, text_tokens) -> CallShape:
    grid = ((height or LATENT_SIZE) // PACKING, (width or LATENT_SIZE) // PACKING)
    return CallShape(1, grid[0] * grid[1], grid, TEXT_TOKENS if text_tokens is None else text_tokens)


def _grid(call: dict) -> tuple[int, int] | None:
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
    stream="joint",
    query_linears=("to_q", "to_k", "to_v", "to_out"),
    text_linears=("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
    norms=("norm1.norm", "norm1_context.norm"),
    width="to_q",
)
SINGLE_ATTENTION = SiteSpec(
    "self_attn",
    "attn",
    "attention",
    stream="joint",
    inside="block",
    query_linears=("to_q", "to_k", "to_v"),
    width="to_q",
)
SINGLE_BLOCK = SiteSpec(
    "block",
    "",
    "parallel_block",
    stream="joint",
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
    by_row=("FluxIPAdapterAttnProcessor",),
    channel_dim=2,
    grid=_grid,
    input="x_embedder",
    prediction=PACKED,
    added=("controlnet_block_samples", "controlnet_single_block_samples"),
    timestep_scale=1000.0,
)

register(FLUX)
