"""FLUX: guidance in the model; true guidance with two calls a step that have names, the conditional one first."""

from __future__ import annotations

from typing import Any

import diffusers
import torch

from ..conformance.test_arguments import flux_with_ip_adapter
from ..helpers import TEXT_WIDTH, randomize, tiny_flux, tiny_flux_pipeline
from .style import noise, style, text

SIZE = {"height": 32, "width": 32, "max_sequence_length": 8}
ARGUMENTS = SIZE | {"prompt_embeds": text(width=TEXT_WIDTH), "pooled_prompt_embeds": noise(1, TEXT_WIDTH, seed=3)}
PICTURE = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3))
MASK = (torch.arange(32) < 16).float().expand(1, 1, 32, 32)


NEGATIVE = {
    "true_cfg_scale": 4.0,
    "negative_prompt_embeds": text(width=TEXT_WIDTH, seed=2),
    "negative_pooled_prompt_embeds": noise(1, TEXT_WIDTH, seed=4),
}


def make(name: str = "FluxPipeline", channels: int = 16, **more: Any) -> Any:
    parts = tiny_flux_pipeline().components
    # Some pipelines take the components of an IP-Adapter, and others do not.
    parts = {key: part for key, part in parts.items() if "image_encoder" not in key and "feature" not in key}
    transformer = tiny_flux(in_channels=channels, out_channels=16)
    return getattr(diffusers, name)(**parts | {"transformer": transformer} | more)


def controlnet() -> Any:
    with torch.random.fork_rng(devices=[]):
        made = diffusers.FluxControlNetModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            num_attention_heads=2,
            attention_head_dim=16,
            joint_attention_dim=TEXT_WIDTH,
            pooled_projection_dim=TEXT_WIDTH,
            guidance_embeds=True,
            axes_dims_rope=(4, 6, 6),
        )
    return randomize(made)


COND = ("cond",)
style("flux", make, ARGUMENTS, branches=COND)
style("flux-images", make, ARGUMENTS | {"num_images_per_prompt": 2}, branches=COND)
style("flux-true-guidance", make, ARGUMENTS | NEGATIVE, branches=("cond", "uncond"))
# Four of five steps.
PART = {"image": PICTURE, "strength": 0.8}
style("flux-img2img", lambda: make("FluxImg2ImgPipeline"), ARGUMENTS | PART, steps="FFrF")
INPAINT = {"image": PICTURE, "mask_image": MASK, "strength": 1.0}
style("flux-inpaint", lambda: make("FluxInpaintPipeline"), ARGUMENTS | INPAINT)
CONTROL = {"control_image": PICTURE}
style("flux-controlnet", lambda: make("FluxControlNetPipeline", controlnet=controlnet()), ARGUMENTS | CONTROL)


def with_adapter() -> Any:
    """What loading an IP-Adapter makes of a pipeline."""
    pipe = make()
    pipe.transformer = flux_with_ip_adapter()
    return pipe


def picture() -> list[torch.Tensor]:
    return [torch.randn(1, 1, 12, generator=torch.Generator().manual_seed(5))]


PICTURES = {"ip_adapter_image_embeds": picture, "negative_ip_adapter_image_embeds": picture}
style("flux-ip-adapter", with_adapter, ARGUMENTS | PICTURES, branches=COND)
