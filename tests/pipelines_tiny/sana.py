"""Sana: guidance in a batch, feed-forwards that mix tokens."""

from __future__ import annotations

from typing import Any

import diffusers

from .style import mask, pipeline, style, text, zoo

ARGUMENTS = {
    "prompt": None,
    "negative_prompt": None,
    "prompt_embeds": text(),
    "negative_prompt_embeds": text(seed=2),
    "prompt_attention_mask": mask(),
    "negative_prompt_attention_mask": mask(),
    "height": 256,
    "width": 256,
    "use_resolution_binning": False,
}


def make(name: str = "SanaPipeline", **more: Any) -> Any:
    parts = {"scheduler": diffusers.FlowMatchEulerDiscreteScheduler(), "transformer": zoo("SanaTransformer2DModel")}
    return pipeline(name, **parts | more)


style("sana", make, ARGUMENTS)
style("sana-scaled-times", lambda: make(transformer=zoo("SanaTransformer2DModel", timestep_scale=0.001)), ARGUMENTS)
# Its model is told an angle's share, and not the scheduler's angle; the schedule has its end as one step more.
style(
    "sana-sprint",
    lambda: make(
        "SanaSprintPipeline",
        scheduler=diffusers.SCMScheduler(),
        transformer=zoo("SanaTransformer2DModel", guidance_embeds=True),
    ),
    ARGUMENTS | {"intermediate_timesteps": None},
    steps="FFrFr",
)
LAYERS = {"pag_applied_layers": "transformer_blocks.0"}
style("sana-pag", lambda: make("SanaPAGPipeline", **LAYERS), ARGUMENTS | {"pag_scale": 2.0}, matrix=True)
