"""HunyuanVideo 1.5: a guider that calls once for each of its branches, and names them so."""

from __future__ import annotations

from typing import Any

import diffusers
import torch

from .hunyuanimage import prompts
from .style import noise, pipeline, style, zoo

ARGUMENTS = (
    {"latents": noise(1, 4, 3, 4, 6), "height": 64, "width": 96, "num_frames": 9}
    | prompts(5, width_2=10)
    | prompts(5, seed=2, sign="negative_", width_2=10)
)


def make(**guiders: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        vae = diffusers.AutoencoderKLHunyuanVideo15(latent_channels=4, block_out_channels=(4,) * 5, layers_per_block=1)
    parts = {
        "vae": vae,
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(),
        "transformer": zoo("HunyuanVideo15Transformer3DModel", in_channels=9, out_channels=4),
        "guider": diffusers.ClassifierFreeGuidance(**guiders),
    }
    return pipeline("HunyuanVideo15Pipeline", **parts)


NAMED = ("cond", "uncond")
style("hunyuanvideo15", make, ARGUMENTS, branches=NAMED)
# Guidance in the first two steps of five.
style("hunyuanvideo15-cut-off", lambda: make(start=0.0, stop=0.4), ARGUMENTS, branches=NAMED, calls=5 + 2)
