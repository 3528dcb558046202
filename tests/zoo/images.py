"""Pictures: self-attention of the image, cross-attention to the text or none, and a feed-forward."""

from __future__ import annotations

from typing import Any

import torch

from .moment import GRID, TEXT, TOKENS, Moment
from .tiny import tiny

HEADS = {"num_attention_heads": 2, "attention_head_dim": 8}


@tiny(
    "DiTTransformer2DModel",
    in_channels=4,
    out_channels=8,
    num_layers=3,
    sample_size=8,
    num_embeds_ada_norm=10,
    **HEADS,
)
def dit(now: Moment) -> dict[str, Any]:
    return {
        "hidden_states": now.latents(4, 8, 8),
        "timestep": now.time(),
        "class_labels": now.numbers(below=10),
    }


@tiny(
    "PixArtTransformer2DModel",
    in_channels=4,
    out_channels=8,
    num_layers=3,
    cross_attention_dim=16,
    sample_size=8,
    caption_channels=12,
    use_additional_conditions=False,
    **HEADS,
)
def pixart(now: Moment) -> dict[str, Any]:
    return {
        "hidden_states": now.latents(4, 8, 12),
        "timestep": now.time(),
        "encoder_hidden_states": now.given(TEXT, 12),
        "encoder_attention_mask": now.ones(TEXT, dtype=torch.long),
        "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
    }


def pixart_with_size(now: Moment) -> dict[str, Any]:
    size = {"resolution": now.repeated(torch.tensor([64.0, 96.0])), "aspect_ratio": now.full(0.7, 1)}
    return pixart.arguments(now) | {"added_cond_kwargs": size}


pixart.variant(
    "told-its-size", pixart_with_size, use_additional_conditions=True, attention_head_dim=12, cross_attention_dim=24
)


@tiny(
    "HunyuanDiT2DModel",
    in_channels=4,
    patch_size=2,
    sample_size=8,
    hidden_size=16,
    num_layers=6,  # of which the last two are given what the second and the third returned
    cross_attention_dim=8,
    cross_attention_dim_t5=8,
    pooled_projection_dim=4,
    text_len=3,
    text_len_t5=2,
    **HEADS,
)
def hunyuan_dit(now: Moment) -> dict[str, Any]:
    angle = now.common(TOKENS, 8, of="rotary")
    return {
        "hidden_states": now.latents(4, 8, 12),
        "timestep": now.time(),
        "encoder_hidden_states": now.given(3, 8),
        "text_embedding_mask": now.ones(3, dtype=torch.long),
        "encoder_hidden_states_t5": now.given(2, 8, of="t5"),
        "text_embedding_mask_t5": now.ones(2, dtype=torch.long),
        "image_meta_size": now.repeated(torch.tensor([64.0, 96, 64, 96, 0, 0])).to(now.dtype),
        "style": torch.zeros(now.batch, dtype=torch.long),
        "image_rotary_emb": (angle.cos(), angle.sin()),
    }


def hunyuan_dit_controlled(now: Moment) -> dict[str, Any]:
    """A ControlNet's numbers for the two long skips, in a list that the model empties."""
    controls = [0.3 * now.given(TOKENS, 16, of=f"control {i}") for i in range(2)]
    return hunyuan_dit.arguments(now) | {"controlnet_block_samples": controls}


hunyuan_dit.variant("controlnet", hunyuan_dit_controlled)


@tiny(
    "LuminaNextDiT2DModel",
    sample_size=16,
    patch_size=2,
    in_channels=4,
    hidden_size=32,
    num_layers=3,
    num_attention_heads=2,
    num_kv_heads=1,
    multiple_of=8,
    learn_sigma=False,
    cross_attention_dim=12,
)
def lumina_next(now: Moment) -> dict[str, Any]:
    return {
        "hidden_states": now.latents(4, 8, 12),
        "timestep": now.rising_time(),
        "encoder_hidden_states": now.given(TEXT, 12),
        "encoder_mask": now.ones(TEXT, dtype=torch.long),
        "image_rotary_emb": torch.polar(torch.ones(16, 16, 8), now.common(16, 16, 8, of="rotary").float()),
        "cross_attention_kwargs": {},
    }


@tiny(
    "SanaTransformer2DModel",
    in_channels=4,
    out_channels=4,
    num_layers=3,
    num_cross_attention_heads=2,
    cross_attention_head_dim=8,
    cross_attention_dim=16,
    caption_channels=12,
    sample_size=8,
    **HEADS,
)
def sana(now: Moment) -> dict[str, Any]:
    return {
        "hidden_states": now.latents(4, *GRID),
        "timestep": now.time(),
        "encoder_hidden_states": now.given(TEXT, 12),
        "encoder_attention_mask": now.ones(TEXT, dtype=torch.long),
    }


def sana_sprint(now: Moment) -> dict[str, Any]:
    return sana.arguments(now) | {"guidance": now.full(0.45), "timestep": now.time(scale=1.57)}


def sana_controlled(now: Moment) -> dict[str, Any]:
    """A ControlNet's numbers after the second block and the third."""
    controls = tuple(0.3 * now.given(TOKENS, 16, of=f"control {i}") for i in range(2))
    return sana.arguments(now) | {"controlnet_block_samples": controls}


sana.variant("controlnet", sana_controlled)
sana.variant("sprint", sana_sprint, guidance_embeds=True, qk_norm="rms_norm_across_heads")


@tiny(
    "PRXTransformer2DModel",
    in_channels=4,
    patch_size=2,
    context_in_dim=12,
    hidden_size=16,
    mlp_ratio=2.0,
    num_heads=2,
    depth=3,
    axes_dim=[4, 4],
)
def prx(now: Moment) -> dict[str, Any]:
    return {
        "hidden_states": now.latents(4, 8, 12),
        "timestep": now.time(scale=1.0),
        "encoder_hidden_states": now.given(TEXT, 12),
    }
