"""The parallel blocks that several families have: attention beside a feed-forward, over text and image in a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .parallel_block import Entered, ParallelBlock

TEXT, IMAGE = "encoder_hidden_states", "hidden_states"
EXTRA = ("joint_attention_kwargs", "attention_kwargs")


def entering(*streams: str) -> Callable[[Any, dict[str, Any]], Entered]:
    """How a block begins that puts these of its arguments into one row."""

    def enter(block: Any, call: dict[str, Any]) -> Entered:
        residual = torch.cat([call[name] for name in streams], dim=1) if len(streams) > 1 else call[streams[0]]
        normed, gate = block.norm(residual, emb=call["temb"])
        return Entered(residual, normed, gate.unsqueeze(1), call[TEXT].shape[1] if TEXT in streams else 0)

    return enter


def attend(block: Any, entered: Entered, call: dict[str, Any]) -> torch.Tensor:
    """Attention of one row."""
    extra: dict[str, Any] = next((call[name] for name in EXTRA if call.get(name)), {})
    return block.attn(hidden_states=entered.normed, image_rotary_emb=call.get("image_rotary_emb"), **extra)


def attend_masked(block: Any, entered: Entered, call: dict[str, Any]) -> torch.Tensor:
    """Attention of one row, whose padding neither attends nor is attended to."""
    mask, extra = call.get("attention_mask"), call.get("joint_attention_kwargs") or {}
    pairs = None if mask is None else mask[:, None, None, :] * mask[:, None, :, None]
    rotary = call.get("image_rotary_emb")
    return block.attn(hidden_states=entered.normed, image_rotary_emb=rotary, attention_mask=pairs, **extra)


def attend_apart(block: Any, entered: Entered, call: dict[str, Any]) -> torch.Tensor:
    """Attention that is handed image and text apart, for the image alone is rotated."""
    streams = block.attn(
        hidden_states=entered.normed[:, : -entered.text_tokens],
        encoder_hidden_states=entered.normed[:, -entered.text_tokens :],
        attention_mask=call.get("attention_mask"),
        image_rotary_emb=call.get("image_rotary_emb"),
    )
    return torch.cat(streams, dim=1)


def mix(block: Any, normed: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
    """A plain feed-forward."""
    return block.proj_out(torch.cat([attention, block.act_mlp(block.proj_mlp(normed))], dim=-1))


def mix_gated(block: Any, normed: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
    """A feed-forward whose second half opens and closes the first."""
    hidden_states, gate = block.proj_mlp(normed).chunk(2, dim=-1)
    return block.proj_out(torch.cat([attention, block.act_mlp(gate) * hidden_states], dim=-1))


def leave_joined(entered: Entered, fused: torch.Tensor) -> torch.Tensor:
    """One row; in half precision within its bounds."""
    hidden_states = entered.residual + entered.gate * fused
    return hidden_states.clip(-65504, 65504) if hidden_states.dtype == torch.float16 else hidden_states


def leave_text_first(entered: Entered, fused: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Text and image."""
    hidden_states = leave_joined(entered, fused)
    return hidden_states[:, : entered.text_tokens], hidden_states[:, entered.text_tokens :]


def leave_image_first(entered: Entered, fused: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Image and text."""
    hidden_states = entered.residual + entered.gate * fused
    return hidden_states[:, : -entered.text_tokens], hidden_states[:, -entered.text_tokens :]


TEXT_FIRST = ParallelBlock(entering(TEXT, IMAGE), attend, mix, leave_text_first)
"""Two streams in and out, text first (FLUX, Bria, LongCat-Image)."""

GATED_TEXT_FIRST = ParallelBlock(entering(TEXT, IMAGE), attend, mix_gated, leave_text_first)
"""The same with a gated feed-forward (Ovis-Image)."""

JOINED = ParallelBlock(entering(IMAGE), attend, mix, leave_joined)
"""One row in and out (Bria FIBO)."""

MASKED = ParallelBlock(entering(IMAGE), attend_masked, mix, leave_joined)
"""The same with padding hidden (Chroma)."""


def enter_replaced(block: Any, call: dict[str, Any]) -> Entered:
    """Image and text in one row, whose first tokens are those of a given frame and have a timestep of their own where
    the call says so (HunyuanVideo, image to video)."""
    given = call.get("token_replace_emb")
    if given is None:
        return entering(IMAGE, TEXT)(block, call)
    count: int = call["num_tokens"]
    residual = torch.cat([call[IMAGE], call[TEXT]], dim=1)
    normed, gate, given_gate = block.norm(residual, call["temb"], given, count)
    others = residual.shape[1] - count
    gates = [given_gate[:, None].expand(-1, count, -1), gate[:, None].expand(-1, others, -1)]
    return Entered(residual, normed, torch.cat(gates, dim=1), call[TEXT].shape[1])


IMAGE_FIRST = ParallelBlock(enter_replaced, attend_apart, mix, leave_image_first)
"""Two streams in and out, image first (HunyuanVideo, HunyuanImage)."""
