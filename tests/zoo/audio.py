"""Sound alone: one sequence of moments."""

from __future__ import annotations

from typing import Any

import torch

from .moment import TEXT, Moment
from .tiny import tiny

LENGTH = 16


def channels_first(now: Moment) -> dict[str, Any]:
    """Latents (B, C, moments)."""
    return {
        "hidden_states": now.latents(4, LENGTH),
        "timestep": now.time(scale=1.0),
        "encoder_hidden_states": now.given(TEXT, 12),
    }


@tiny(
    "StableAudioDiTModel",
    sample_size=LENGTH,
    in_channels=4,
    out_channels=4,
    num_layers=3,
    attention_head_dim=8,
    num_attention_heads=2,
    num_key_value_attention_heads=1,
    cross_attention_dim=12,
    time_proj_dim=8,
    global_states_input_dim=6,
    cross_attention_input_dim=12,
)
def stable_audio(now: Moment) -> dict[str, Any]:
    # A token of the whole sound stands before the others.
    angle = torch.arange(LENGTH + 1)[:, None] * torch.ones(4, dtype=now.dtype)
    extra = {"global_hidden_states": now.given(1, 6, of="global"), "rotary_embedding": (angle.cos(), angle.sin())}
    return channels_first(now) | extra


@tiny(
    "StableAudio3DiTModel",
    io_channels=4,
    embed_dim=16,
    depth=3,
    num_heads=2,
    cond_token_dim=12,
    global_cond_dim=6,
    local_add_cond_dim=5,
    timestep_features_dim=8,
    ff_mult=2.0,
    num_memory_tokens=3,
)
def stable_audio_3(now: Moment) -> dict[str, Any]:
    return channels_first(now) | {"global_hidden_states": now.given(6, of="global")}


@tiny(
    "AceStepTransformer1DModel",
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=4,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=8,
    in_channels=12,
    audio_acoustic_hidden_dim=4,
    rope_theta=10000.0,
    sliding_window=4,
)
def ace_step(now: Moment) -> dict[str, Any]:
    return {
        "hidden_states": now.latents(LENGTH, 4),
        "timestep": now.time(scale=1.0),
        "timestep_r": now.time(scale=1.0),
        "encoder_hidden_states": now.given(TEXT, 16),
        "context_latents": now.given(LENGTH, 8, of="context"),
    }


@tiny(
    "LongCatAudioDiTTransformer",
    dit_dim=16,
    dit_depth=3,
    dit_heads=2,
    dit_text_dim=12,
    latent_dim=4,
    text_conv=False,
    ff_mult=2.0,
)
def longcat_audio(now: Moment) -> dict[str, Any]:
    return {
        "hidden_states": now.latents(LENGTH, 4),
        "timestep": now.rising_time(),
        "encoder_hidden_states": now.given(TEXT, 12),
        "encoder_attention_mask": now.ones(TEXT),
        "attention_mask": now.ones(LENGTH),
        "latent_cond": now.given(LENGTH, 4, of="condition"),
    }


@tiny(
    "MiniMaxMusic3Transformer1DModel",
    in_channels=4,
    condition_dim=12,
    num_layers=3,
    num_attention_heads=2,
    attention_head_dim=8,
    ff_inner_dim=24,
    rotary_dim=4,
    fourier_embedding_dim=8,
)
def minimax_music(now: Moment) -> dict[str, Any]:
    return channels_first(now) | {"timestep": now.rising_time(), "encoder_hidden_states": now.given(LENGTH, 12)}
