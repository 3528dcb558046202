"""Pictures: text and image in streams of their own that attend to each other, with single-stream blocks or without."""

from __future__ import annotations

from typing import Any

import torch

from .moment import GRID, TEXT, TOKENS, Moment, positions
from .tiny import tiny

HEADS = {"num_attention_heads": 2, "attention_head_dim": 8}
STACKS = {"num_layers": 2, "num_single_layers": 3}
JOINT = {"in_channels": 4, "joint_attention_dim": 12, **HEADS}


def latents_and_text(now: Moment) -> dict[str, Any]:
    """Latents of 8 x 12 pixels, for patches of two."""
    return {
        "hidden_states": now.latents(4, 8, 12),
        "encoder_hidden_states": now.given(TEXT, 12),
        "timestep": now.time(),
    }


def packed(now: Moment, axes: int = 3) -> dict[str, Any]:
    """A row a token, and the positions of image and text."""
    return {
        "hidden_states": now.latents(TOKENS, 4),
        "encoder_hidden_states": now.given(TEXT, 12),
        "timestep": now.time(scale=1.0),
        "img_ids": image_positions(axes).to(now.dtype),
        "txt_ids": torch.zeros(TEXT, axes, dtype=now.dtype),
    }


def image_positions(axes: int) -> torch.Tensor:
    """(image tokens, axes): nothing but row and column, which are the second and the third."""
    grid = positions(*GRID, axes=3)
    return torch.cat([grid, torch.zeros(TOKENS, axes - 3)], dim=1)


def sizes(now: Moment) -> dict[str, Any]:
    """What models of the CogView kind are told of the picture's size."""
    size = now.repeated(torch.tensor([64.0, 96.0])).to(now.dtype)
    return {"original_size": size, "target_size": size, "crop_coords": 0 * size}


@tiny(
    "SD3Transformer2DModel",
    sample_size=8,
    patch_size=2,
    out_channels=4,
    num_layers=4,
    caption_projection_dim=16,
    pooled_projection_dim=10,
    pos_embed_max_size=8,
    **JOINT,
)
def sd3(now: Moment) -> dict[str, Any]:
    return latents_and_text(now) | {"pooled_projections": now.given(10, of="pooled")}


sd3.variant("dual-attention", dual_attention_layers=(0, 1), qk_norm="rms_norm")


def sd3_controlled(now: Moment) -> dict[str, Any]:
    """What a ControlNet adds after each half of the blocks."""
    controls = [0.3 * now.given(TOKENS, 16, of=f"control {place}") for place in range(2)]
    return sd3.arguments(now) | {"block_controlnet_hidden_states": controls}


sd3.variant("controlnet", sd3_controlled)


@tiny(
    "AuraFlowTransformer2DModel",
    sample_size=8,
    patch_size=2,
    out_channels=4,
    num_mmdit_layers=2,
    num_single_dit_layers=3,
    caption_projection_dim=16,
    pos_embed_max_size=64,
    **JOINT,
)
def aura_flow(now: Moment) -> dict[str, Any]:
    return latents_and_text(now) | {"timestep": now.time(scale=1.0)}


COGVIEW = {
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 3,
    "text_embed_dim": 12,
    "time_embed_dim": 8,
    "condition_dim": 4,
    **HEADS,
}


@tiny("CogView3PlusTransformer2DModel", pos_embed_max_size=8, sample_size=8, **COGVIEW)
def cogview3(now: Moment) -> dict[str, Any]:
    return latents_and_text(now) | sizes(now)


@tiny("CogView4Transformer2DModel", rope_axes_dim=(16, 16), sample_size=8, **COGVIEW)
def cogview4(now: Moment) -> dict[str, Any]:
    return latents_and_text(now) | sizes(now)


@tiny("GlmImageTransformer2DModel", prior_vq_quantizer_codebook_size=16, **COGVIEW)
def glm_image(now: Moment) -> dict[str, Any]:
    told = {name: value for name, value in sizes(now).items() if name != "original_size"}
    prior = {"prior_token_id": now.numbers(TOKENS, below=16), "prior_token_drop": ~now.ones(TOKENS)}
    return latents_and_text(now) | told | prior


def glm_with_picture(now: Moment) -> dict[str, Any]:
    """Keys and values of a given picture of four tokens are read."""
    from diffusers.models.transformers.transformer_glm_image import GlmImageKVCache

    caches = GlmImageKVCache(COGVIEW["num_layers"])
    for number, layer in enumerate(caches.caches):
        layer.store(*(now.common(1, 4, 2, 8, of=f"{name} {number}") for name in ("keys", "values")))
    caches.set_mode("read")
    return glm_image.arguments(now) | {"kv_caches": caches}


glm_image.variant("given-picture", glm_with_picture)


@tiny(
    "FluxTransformer2DModel",
    pooled_projection_dim=10,
    guidance_embeds=True,
    axes_dims_rope=(2, 2, 4),
    **STACKS,
    **JOINT,
)
def flux(now: Moment) -> dict[str, Any]:
    return packed(now) | {"pooled_projections": now.given(10, of="pooled"), "guidance": now.full(3.5)}


def flux_with_reference(now: Moment) -> dict[str, Any]:
    """Tokens of a reference picture of the same size after the image's."""
    call = flux.arguments(now)
    where = call["img_ids"]
    reference = where + torch.tensor([1, 0, 0], dtype=now.dtype)
    latents = torch.cat([call["hidden_states"], now.given(TOKENS, 4, of="reference")], dim=1)
    return call | {"hidden_states": latents, "img_ids": torch.cat([where, reference])}


flux.variant("kontext", flux_with_reference)


def flux_with_control(now: Moment) -> dict[str, Any]:
    """A control picture, or one to fill, as further channels (Control, Fill)."""
    latents = torch.cat([now.latents(TOKENS, 4), now.given(TOKENS, 4, of="control")], dim=2)
    return flux.arguments(now) | {"hidden_states": latents}


def flux_controlled(now: Moment) -> dict[str, Any]:
    """What a ControlNet adds after blocks of both kinds."""
    controls = [0.3 * now.given(TOKENS, 16, of=f"control {place}") for place in range(2)]
    return flux.arguments(now) | {"controlnet_block_samples": controls, "controlnet_single_block_samples": controls}


flux.variant("control", flux_with_control, in_channels=8, out_channels=4)
flux.variant("controlnet", flux_controlled)


@tiny(
    "Flux2Transformer2DModel",
    timestep_guidance_channels=16,
    axes_dims_rope=(2, 2, 2, 2),
    **STACKS,
    **JOINT,
)
def flux2(now: Moment) -> dict[str, Any]:
    return packed(now, axes=4) | {"guidance": now.full(4.0)}


def flux2_klein(now: Moment) -> dict[str, Any]:
    return packed(now, axes=4) | {"guidance": None}


flux2.variant("klein", flux2_klein, guidance_embeds=False)


@tiny(
    "Flux3Transformer2DModel",
    cond_in_channels=4,
    timestep_channels=16,
    axes_dims_rope=(2, 2, 2, 2),
    **STACKS,
    **JOINT,
)
def flux3(now: Moment) -> dict[str, Any]:
    return packed(now, axes=4)


def flux3_with_a_reference(now: Moment) -> dict[str, Any]:
    ids = torch.cat([torch.ones(6, 1), torch.arange(6.0)[:, None].repeat(1, 3)], dim=1)
    return flux3.arguments(now) | {"image_cond_hidden_states": now.given(6, 4), "image_cond_ids": ids}


flux3.variant("reference", flux3_with_a_reference)


@tiny(
    "ChromaTransformer2DModel",
    axes_dims_rope=(2, 2, 4),
    approximator_num_channels=8,
    approximator_hidden_dim=16,
    approximator_layers=1,
    **STACKS,
    **JOINT,
)
def chroma(now: Moment) -> dict[str, Any]:
    return packed(now)


def chroma_masked(now: Moment) -> dict[str, Any]:
    """Padding of the text hidden, of another length for each sample."""
    mask = now.ones(TEXT + TOKENS)
    for row, sample in enumerate(now.samples):
        mask[row, TEXT - 1 - sample % 2 : TEXT] = False
    return packed(now) | {"attention_mask": mask}


chroma.variant("masked-text", chroma_masked)


@tiny("BriaTransformer2DModel", axes_dims_rope=[0, 4, 4], **STACKS, **JOINT)
def bria(now: Moment) -> dict[str, Any]:
    return packed(now)


@tiny("BriaFiboTransformer2DModel", text_encoder_dim=6, axes_dims_rope=[0, 4, 4], **STACKS, **JOINT)
def bria_fibo(now: Moment) -> dict[str, Any]:
    layers = sum(STACKS.values())
    return packed(now) | {"text_encoder_layers": [now.given(TEXT, 6, of=f"layer {i}") for i in range(layers)]}


@tiny("LongCatImageTransformer2DModel", pooled_projection_dim=12, axes_dims_rope=[2, 2, 4], **STACKS, **JOINT)
def longcat_image(now: Moment) -> dict[str, Any]:
    return packed(now)


@tiny("OvisImageTransformer2DModel", out_channels=4, axes_dims_rope=(2, 2, 4), **STACKS, **JOINT)
def ovis_image(now: Moment) -> dict[str, Any]:
    return packed(now)


@tiny(
    "HiDreamImageTransformer2DModel",
    patch_size=2,
    in_channels=4,
    out_channels=4,
    caption_channels=[12, 6],
    text_emb_dim=10,
    num_routed_experts=4,
    num_activated_experts=2,
    axes_dims_rope=(4, 2, 2),
    max_resolution=(8, 8),
    llama_layers=(0, 1, 2, 3, 4),
    force_inference_output=True,
    **STACKS,
    **HEADS,
)
def hidream(now: Moment) -> dict[str, Any]:
    llama = now.given(5, TEXT, 6, of="llama").transpose(0, 1)
    return {
        "hidden_states": now.latents(4, 16, 16),
        "timesteps": now.time(),
        "encoder_hidden_states_t5": now.given(TEXT, 12),
        "encoder_hidden_states_llama3": llama,
        "pooled_embeds": now.given(10, of="pooled"),
    }


QWEN = {"patch_size": 2, "out_channels": 1, "axes_dims_rope": (2, 2, 4), **JOINT}


@tiny("QwenImageTransformer2DModel", num_layers=3, **QWEN)
def qwen_image(now: Moment) -> dict[str, Any]:
    return {
        "hidden_states": now.latents(TOKENS, 4),
        "encoder_hidden_states": now.given(TEXT, 12),
        "encoder_hidden_states_mask": now.ones(TEXT, dtype=torch.long),
        "timestep": now.time(scale=1.0),
        "img_shapes": [[(1, *GRID)]] * now.batch,
    }


def qwen_edit(now: Moment) -> dict[str, Any]:
    """Tokens of a smaller reference picture after the image's."""
    latents = torch.cat([now.latents(TOKENS, 4), now.given(6, 4, of="reference")], dim=1)
    return qwen_image.arguments(now) | {"hidden_states": latents, "img_shapes": [[(1, *GRID), (1, 2, 3)]] * now.batch}


def qwen_controlled(now: Moment) -> dict[str, Any]:
    """What a ControlNet adds after each block."""
    controls = [0.3 * now.given(TOKENS, 16, of=f"control {place}") for place in range(3)]
    return qwen_image.arguments(now) | {"controlnet_block_samples": controls}


qwen_image.variant("edit", qwen_edit)
qwen_image.variant("controlnet", qwen_controlled)
qwen_image.variant("edit-clean-reference", qwen_edit, zero_cond_t=True)


@tiny(
    "NucleusMoEImageTransformer2DModel",
    num_layers=3,
    mlp_ratio=16.0,
    dense_moe_strategy="leave_first_block_dense",
    num_experts=2,
    moe_intermediate_dim=16,
    capacity_factors=[1.0] * 3,
    **QWEN,
)
def nucleus(now: Moment) -> dict[str, Any]:
    return {
        "hidden_states": now.latents(TOKENS, 4),
        "encoder_hidden_states": now.given(TEXT, 12),
        "timestep": now.time(scale=1.0),
        "img_shapes": [(1, *GRID)] * now.batch,
    }


JOY = {
    "patch_size": [1, 2, 2],
    "in_channels": 4,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "text_dim": 12,
    "num_layers": 3,
    "rope_dim_list": [2, 2, 4],
}


@tiny("JoyImageEditTransformer3DModel", **JOY)
def joy_edit(now: Moment) -> dict[str, Any]:
    return latents_and_text(now) | {"hidden_states": now.latents(4, 1, 8, 12)}


@tiny("JoyImageEditPlusTransformer3DModel", **JOY)
def joy_edit_plus(now: Moment) -> dict[str, Any]:
    patches = {"hidden_states": now.latents(TOKENS, 4, 1, 2, 2), "shape_list": [[(1, *GRID)]] * now.batch}
    return latents_and_text(now) | patches


@tiny(
    "HunyuanImageTransformer2DModel",
    in_channels=4,
    out_channels=4,
    num_refiner_layers=1,
    mlp_ratio=2.0,
    patch_size=(1, 1),
    text_embed_dim=12,
    rope_axes_dim=(4, 4),
    **STACKS,
    **HEADS,
)
def hunyuan_image(now: Moment) -> dict[str, Any]:
    mask = now.ones(TEXT, dtype=torch.long)
    return latents_and_text(now) | {"hidden_states": now.latents(4, *GRID), "encoder_attention_mask": mask}
