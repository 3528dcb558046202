"""Qwen-Image: two calls a step that have names."""

from __future__ import annotations

from typing import Any

import diffusers

from .style import mask, pipeline, style, text, zoo

ARGUMENTS = {
    "prompt_embeds": text(),
    "negative_prompt_embeds": text(seed=2),
    "prompt_embeds_mask": mask(),
    "negative_prompt_embeds_mask": mask(),
    "height": 64,
    "width": 96,
}
LONGER = {"negative_prompt_embeds": text(7, seed=2), "negative_prompt_embeds_mask": mask(7)}


def make() -> Any:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    transformer = zoo("QwenImageTransformer2DModel", in_channels=16, out_channels=4)
    return pipeline("QwenImagePipeline", scheduler=scheduler, transformer=transformer)


NAMED = ("cond", "uncond")
style("qwen", make, ARGUMENTS, branches=NAMED)
style("qwen-unguided", make, ARGUMENTS | {"true_cfg_scale": 1.0}, branches=("cond",))
style("qwen-longer-negative", make, ARGUMENTS | LONGER, branches=NAMED)
style("qwen-images", make, ARGUMENTS | {"num_images_per_prompt": 2}, branches=NAMED)
