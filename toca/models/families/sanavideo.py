"""Sana-Video: Sana's blocks over all frames in one sequence, with rotary positions (arXiv 2509.24695)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...registry import register
from ..intercepted import Intercepted
from ..linears import linear_flops, out_features
from ..prediction import VIDEO
from ..sites import self_attention
from ..sizes import Others, Sizes
from ..spec import BlockSpec, FamilySpec
from .sana import BATCHED, SITES, TEXT_TOKENS


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Timesteps of a sample: one, or one for each frame where a picture is given."""
    timestep = call.get("timestep")
    if not isinstance(timestep, torch.Tensor) or timestep.ndim == 0:
        return (("times", 1),)
    return (("times", timestep.numel() // len(call["hidden_states"])),)


SIZES = Sizes(
    dims="BCFHW",
    patch=lambda config: tuple(config.patch_size),
    # 81 frames of 480 x 832 pixels.
    latents=lambda config: (21, 60, 104),
    text_tokens=TEXT_TOKENS,
    others=_others,
)


def _linear_attention_flops(attn: Any) -> int:
    """Of one token: as in Sana, with the sum of the keys by itself."""
    head = out_features(attn.to_q) // attn.heads
    return linear_flops(attn) + 2 * attn.heads * head * (2 * head + 1)


ATTENTION = self_attention("attn1", "norm1", width=None, token_flops=_linear_attention_flops)

SANAVIDEO = FamilySpec(
    name="sanavideo",
    transformer="SanaVideoTransformer3DModel",
    stacks=(BlockSpec("main", "transformer_blocks", (ATTENTION, *SITES[1:])),),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    attention=Intercepted(mapless=("SanaLinearAttnProcessor3_0",), drops=False),
    around=(
        ("patch_embedding", "token"),
        ("time_embed", "times"),
        ("caption_projection", "text_token"),
        ("proj_out", "token"),
    ),
    batched=BATCHED,
    free=("attention_kwargs",),
    batched_cfg=True,
    input="patch_embedding",
    prediction=VIDEO,
    added=("controlnet_block_samples",),
)

register(SANAVIDEO)
