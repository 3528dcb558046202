"""CogVideoX: a video, guidance in a batch under one name."""

from __future__ import annotations

from typing import Any

import diffusers

from .style import noise, pipeline, style, text, zoo

ARGUMENTS = {
    "prompt_embeds": text(5),
    "negative_prompt_embeds": text(5, seed=2),
    "latents": noise(1, 3, 4, 8, 12),
    "height": 64,
    "width": 96,
    "num_frames": 9,
}


def make() -> Any:
    transformer = zoo("CogVideoXTransformer3DModel")
    return pipeline("CogVideoXPipeline", scheduler=diffusers.CogVideoXDDIMScheduler(), transformer=transformer)


style("cogvideox", make, ARGUMENTS, branches=("cond_uncond",))
style("cogvideox-dynamic", make, ARGUMENTS | {"use_dynamic_cfg": True}, branches=("cond_uncond",))
