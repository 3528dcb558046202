"""Wan: two calls a step that have names and say the step; 2.2 has a transformer for the first steps and one for the
others."""

from __future__ import annotations

from typing import Any

import diffusers

from .style import noise, pipeline, style, text, zoo

ARGUMENTS = {
    "prompt_embeds": text(),
    "negative_prompt_embeds": text(seed=2),
    "latents": noise(1, 4, 3, 8, 12),
    "height": 64,
    "width": 96,
    "num_frames": 9,
}


def make(**more: Any) -> Any:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    parts = {"scheduler": scheduler, "transformer": zoo("WanTransformer3DModel")}
    return pipeline("WanPipeline", **parts | more)


def two() -> Any:
    return make(transformer_2=zoo("WanTransformer3DModel", seed=1), boundary_ratio=0.7)


NAMED = ("cond", "uncond")
style("wan", make, ARGUMENTS, branches=NAMED)
style("wan-unguided", make, ARGUMENTS | {"guidance_scale": 1.0}, branches=("cond",))
style("wan-longer-negative", make, ARGUMENTS | {"negative_prompt_embeds": text(7, seed=2)}, branches=NAMED)
FLOW = {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}
style("wan-unipc", lambda: make(scheduler=diffusers.UniPCMultistepScheduler(**FLOW)), ARGUMENTS, branches=NAMED)
# The second transformer, which comes late, has nothing to go on from in its first step.
style("wan-two-transformers", two, ARGUMENTS, branches=NAMED, steps="FrFFF")
# The 5B model has a timestep for each token.
style("wan-times-of-tokens", lambda: make(expand_timesteps=True), ARGUMENTS, branches=NAMED)
