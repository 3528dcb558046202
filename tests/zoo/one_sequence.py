"""Pictures: text and image tokens in one sequence from the first block on."""

from __future__ import annotations

from typing import Any

import torch

from .moment import GRID, TEXT, TOKENS, Moment, positions
from .tiny import tiny

LENGTH = TEXT + TOKENS


@tiny(
    "QwenImage21Transformer2DModel",
    in_channels=4,
    out_channels=4,
    num_layers=3,
    attention_head_dim=8,
    num_attention_heads=2,
    context_in_dim=12,
    mlp_ratio=2,
    axes_dims_rope=(2, 2, 4),
)
def qwen_image_21(now: Moment) -> dict[str, Any]:
    # One place of the mask stands for four image tokens.
    places = torch.arange(TEXT + TOKENS // 4) >= TEXT
    return {
        "hidden_states": now.latents(TOKENS, 4),
        "encoder_hidden_states": now.given(TEXT, 12),
        "timestep": now.time(scale=1.0),
        "img_shapes": [[(1, *GRID)]] * now.batch,
        "img_mask": now.repeated(places),
    }


@tiny(
    "Lumina2Transformer2DModel",
    sample_size=16,
    patch_size=2,
    in_channels=4,
    hidden_size=24,
    num_layers=3,
    num_refiner_layers=1,
    num_attention_heads=3,
    num_kv_heads=1,
    multiple_of=2,
    axes_dim_rope=(4, 2, 2),
    axes_lens=(32, 16, 16),
    cap_feat_dim=12,
)
def lumina2(now: Moment) -> dict[str, Any]:
    return {
        "hidden_states": now.latents(4, 8, 12),
        "timestep": now.rising_time(),
        "encoder_hidden_states": now.given(TEXT, 12),
        "encoder_attention_mask": now.ones(TEXT),
    }


def lumina2_other_lengths(now: Moment) -> dict[str, Any]:
    """Prompts of other lengths in a batch: 5 tokens, 3, 5, 3."""
    mask = now.ones(TEXT)
    for row, sample in enumerate(now.samples):
        mask[row, TEXT - 2 * (sample % 2) :] = False
    return lumina2.arguments(now) | {"encoder_attention_mask": mask}


lumina2.variant("other-lengths", lumina2_other_lengths)


@tiny(
    "ZImageTransformer2DModel",
    in_channels=4,
    dim=48,
    n_layers=3,
    n_refiner_layers=1,
    n_heads=2,
    n_kv_heads=2,
    cap_feat_dim=12,
    axes_dims=[8, 8, 8],
    axes_lens=[128, 16, 16],
)
def z_image(now: Moment) -> dict[str, Any]:
    return {
        "x": list(now.latents(4, 1, 8, 12)),
        "t": now.rising_time(),
        "cap_feats": list(now.given(TEXT, 12)),
    }


def z_image_other_lengths(now: Moment) -> dict[str, Any]:
    """Prompts of other lengths, which the model pads to another multiple of 32 each: 5 tokens, 35, 5, 35."""
    texts = [text[: 35 if sample % 2 else TEXT] for text, sample in zip(now.given(35, 12), now.samples, strict=True)]
    return z_image.arguments(now) | {"cap_feats": texts}


z_image.variant("other-lengths", z_image_other_lengths)


def z_image_controlled(now: Moment) -> dict[str, Any]:
    """A ControlNet's numbers for all tokens after the first block, those of padding among them."""
    return z_image.arguments(now) | {"controlnet_block_samples": {0: 0.3 * now.given(32 + 32, 48, of="control")}}


z_image.variant("controlnet", z_image_controlled)


@tiny(
    "OmniGenTransformer2DModel",
    exact=torch.float32,
    in_channels=4,
    patch_size=2,
    hidden_size=16,
    num_attention_heads=2,
    num_key_value_heads=2,
    intermediate_size=24,
    num_layers=3,
    pad_token_id=0,
    vocab_size=50,
    time_step_dim=8,
    pos_embed_max_size=8,
    rope_scaling={"long_factor": [1, 2, 3, 4], "short_factor": [1, 2, 3, 4]},
)
def omnigen(now: Moment) -> dict[str, Any]:
    length = LENGTH + 1  # a token of the time between text and image
    return {
        "hidden_states": now.latents(4, 8, 12),
        "timestep": now.rising_time(),
        "input_ids": 1 + now.numbers(TEXT, below=49),
        "input_img_latents": [],
        "input_image_sizes": {},
        "attention_mask": now.ones(length, length, dtype=torch.long),
        "position_ids": now.repeated(torch.arange(length)),
    }


@tiny(
    "ErnieImageTransformer2DModel",
    hidden_size=16,
    num_attention_heads=2,
    num_layers=3,
    ffn_hidden_size=24,
    in_channels=4,
    out_channels=4,
    patch_size=1,
    text_in_dim=12,
    rope_axes_dim=(4, 2, 2),
)
def ernie_image(now: Moment) -> dict[str, Any]:
    return {
        "hidden_states": now.latents(4, *GRID),
        "timestep": now.time(),
        "text_bth": now.given(TEXT, 12),
        "text_lens": torch.tensor([TEXT] * now.batch),
    }


@tiny(
    "Ideogram4Transformer2DModel",
    in_channels=4,
    num_layers=3,
    attention_head_dim=8,
    num_attention_heads=2,
    intermediate_size=24,
    adaln_dim=8,
    llm_features_dim=12,
    mrope_section=(2, 1, 1),
)
def ideogram(now: Moment) -> dict[str, Any]:
    from diffusers.models.transformers import transformer_ideogram4 as module

    latents, text = now.full(0.0, LENGTH, 4), now.full(0.0, LENGTH, 12)
    latents[:, TEXT:], text[:, :TEXT] = now.latents(TOKENS, 4), now.given(TEXT, 12)
    where = torch.cat([torch.arange(TEXT)[:, None].expand(-1, 3), positions(*GRID, axes=3).long()])
    where[TEXT:] += module.IMAGE_POSITION_OFFSET
    kinds = torch.tensor([module.LLM_TOKEN_INDICATOR] * TEXT + [module.OUTPUT_IMAGE_INDICATOR] * TOKENS)
    return {
        "hidden_states": latents,
        "timestep": now.rising_time(),
        "encoder_hidden_states": text,
        "position_ids": now.repeated(where),
        "segment_ids": now.ones(LENGTH, dtype=torch.long),
        "indicator": now.repeated(kinds),
    }


@tiny(
    "Krea2Transformer2DModel",
    in_channels=4,
    num_layers=3,
    attention_head_dim=8,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=24,
    timestep_embed_dim=8,
    text_hidden_dim=12,
    num_text_layers=2,
    text_num_attention_heads=2,
    text_num_key_value_heads=1,
    text_intermediate_size=16,
    num_layerwise_text_blocks=1,
    num_refiner_text_blocks=1,
    axes_dims_rope=(4, 2, 2),
)
def krea(now: Moment) -> dict[str, Any]:
    where = torch.cat([torch.zeros(TEXT, 3), positions(*GRID, axes=3)])
    return {
        "hidden_states": now.latents(TOKENS, 4),
        "encoder_hidden_states": now.given(TEXT, 2, 12),
        "timestep": now.time(scale=1.0),
        "position_ids": where,
    }


@tiny(
    "BriaFibo2Transformer2DModel",
    in_channels=4,
    patch_size=2,
    dim=48,
    n_layers=3,
    n_refiner_layers=1,
    n_heads=2,
    cap_feat_dim=12,
    injection_layer_ids=(1,),
    perceiver_num_layers=1,
    min_num_gist_tokens=2,
    max_num_gist_tokens=4,
    gist_step=1,
    gist_min_text_len=2,
    gist_max_text_len=8,
    axes_dims=(8, 8, 8),
    axes_lens=(64, 16, 16),
)
def bria_fibo_2(now: Moment) -> dict[str, Any]:
    return {
        "hidden_states": now.latents(4, 8, 12),
        "timestep": now.time(scale=1.0),
        "encoder_hidden_states": now.given(2, TEXT, 12),
    }
