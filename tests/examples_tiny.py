"""Folders of tiny random pipelines with all their parts, as the examples load them from the hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from .helpers import TEXT_WIDTH, WORDS, randomize, tiny_flux_pipeline, tiny_t5, tiny_tokenizer, tiny_vae
from .pipelines_tiny import flux as flux_styles
from .pipelines_tiny.style import pipeline, zoo

VOCABULARY = {"vocab_size": len(WORDS) + 3, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}


def seeded(make: Callable[[], Any]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval()


def flux() -> Any:
    return tiny_flux_pipeline()


def flux_control() -> Any:
    """Not a pipeline: what is loaded beside one."""
    return flux_styles.controlnet()


def sd3() -> Any:
    config = transformers.CLIPTextConfig(
        **VOCABULARY, hidden_size=6, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=16, projection_dim=5,
    )  # fmt: skip
    clips = [seeded(lambda: transformers.CLIPTextModelWithProjection(config)) for _ in range(2)]
    parts = {"text_encoder": clips[0], "text_encoder_2": clips[1], "text_encoder_3": tiny_t5()}
    parts |= {name: tiny_tokenizer(max_length=16) for name in ("tokenizer", "tokenizer_2", "tokenizer_3")}
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    transformer = zoo("SD3Transformer2DModel", pos_embed_max_size=16, joint_attention_dim=TEXT_WIDTH)
    return pipeline("StableDiffusion3Pipeline", vae=tiny_vae(), scheduler=scheduler, transformer=transformer, **parts)


def video_vae(name: str) -> Any:
    """Of Wan's kind: four latent channels."""
    scales = {"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
    return seeded(lambda: getattr(diffusers, name)(base_dim=4, z_dim=4, num_res_blocks=1, **scales))


def wan() -> Any:
    parts = {"tokenizer": tiny_tokenizer(), "text_encoder": tiny_t5(), "vae": video_vae("AutoencoderKLWan")}
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    width = parts["text_encoder"].config.d_model
    return pipeline(
        "WanPipeline", scheduler=scheduler, transformer=zoo("WanTransformer3DModel", text_dim=width), **parts
    )


def qwen_image() -> Any:
    rope = {"rope_type": "default", "mrope_section": [1, 1, 1]}
    text = VOCABULARY | {
        "hidden_size": 12, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "rope_scaling": rope, "max_position_embeddings": 128,
    }  # fmt: skip
    vision = {"depth": 1, "hidden_size": 8, "intermediate_size": 8, "num_heads": 2, "out_hidden_size": 12}
    config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    encoder = seeded(lambda: transformers.Qwen2_5_VLForConditionalGeneration(config))
    return pipeline(
        "QwenImagePipeline", scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        transformer=zoo("QwenImageTransformer2DModel", in_channels=16, out_channels=4), text_encoder=encoder,
        tokenizer=tiny_tokenizer(), vae=video_vae("AutoencoderKLQwenImage"),
    )  # fmt: skip


def adapter(folder: Path) -> Path:
    """A LoRA of the tiny FLUX, as adapters lie on the hub."""
    import peft

    pipe = flux()
    pipe.transformer.add_adapter(peft.LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v"]))
    randomize(pipe.transformer)
    layers = peft.get_peft_model_state_dict(pipe.transformer)
    type(pipe).save_lora_weights(folder, transformer_lora_layers=layers)
    return folder
