"""Z-Image: lists of samples and prompts, guidance in a batch, the conditional half first; time rises."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from torch import Tensor

from .style import TEXT, TEXT_WIDTH, pipeline, style, zoo


def prompt(seed: int, tokens: int = TEXT) -> list[Tensor]:
    return [torch.randn(tokens, TEXT_WIDTH, generator=torch.Generator().manual_seed(seed))]


ARGUMENTS = {
    "prompt_embeds": lambda: prompt(1),
    "negative_prompt_embeds": lambda: prompt(2),
    "height": 64,
    "width": 64,
}


def make() -> Any:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    return pipeline("ZImagePipeline", scheduler=scheduler, transformer=zoo("ZImageTransformer2DModel"))


style("zimage", make, ARGUMENTS)
style("zimage-unguided", make, ARGUMENTS | {"guidance_scale": 0.0})
# Guidance is cut off after half of the steps, so that the batch is another: nothing to go on from.
style("zimage-guidance-cut-off", make, ARGUMENTS | {"cfg_truncation": 0.5}, steps="FrFFF")
