"""LTX: a video, guidance in a batch under one name."""

from __future__ import annotations

from typing import Any

import diffusers

from .style import mask, pipeline, style, text, zoo

ARGUMENTS = {
    "prompt_embeds": text(),
    "negative_prompt_embeds": text(seed=2),
    "prompt_attention_mask": mask(),
    "negative_prompt_attention_mask": mask(),
    "height": 128,
    "width": 192,
    "num_frames": 17,
}


def make() -> Any:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    return pipeline("LTXPipeline", scheduler=scheduler, transformer=zoo("LTXVideoTransformer3DModel"))


style("ltx", make, ARGUMENTS, branches=("cond_uncond",))
style("ltx-unguided", make, ARGUMENTS | {"guidance_scale": 1.0}, branches=("cond_uncond",))
