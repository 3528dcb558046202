"""Lumina-Image 2: two calls a step without names; guidance may end in mid-run."""

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
    "width": 128,
}


def make() -> Any:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    return pipeline("Lumina2Pipeline", scheduler=scheduler, transformer=zoo("Lumina2Transformer2DModel"))


style("lumina2", make, ARGUMENTS, branches=(0, 1))
style("lumina2-unguided", make, ARGUMENTS | {"guidance_scale": 1.0})
# Guidance in the first two steps of five.
CUT_OFF = {"cfg_trunc_ratio": 0.5}
style("lumina2-guidance-cut-off", make, ARGUMENTS | CUT_OFF, branches=(0, 1), calls=5 + 2)
