"""Chroma: two calls a step without names, the conditional one first."""

from __future__ import annotations

from typing import Any

import diffusers
import torch

from .style import mask, pipeline, style, text, zoo

ARGUMENTS = {
    "prompt_embeds": text(),
    "negative_prompt_embeds": text(seed=2),
    "prompt_attention_mask": mask(dtype=torch.bool),
    "negative_prompt_attention_mask": mask(dtype=torch.bool),
    "height": 64,
    "width": 96,
}


def make() -> Any:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    return pipeline("ChromaPipeline", scheduler=scheduler, transformer=zoo("ChromaTransformer2DModel", in_channels=16))


UNNAMED = (0, 1)
style("chroma", make, ARGUMENTS, branches=UNNAMED)
style("chroma-unguided", make, ARGUMENTS | {"guidance_scale": 1.0})
