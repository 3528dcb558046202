"""AuraFlow: guidance in a batch."""

from __future__ import annotations

from typing import Any

import diffusers

from .style import mask, pipeline, style, text, zoo

ARGUMENTS = {
    "prompt_embeds": text(),
    "negative_prompt_embeds": text(seed=2),
    "prompt_attention_mask": mask(),
    "negative_prompt_attention_mask": mask(),
    "height": 64,
    "width": 64,
}


def make() -> Any:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    return pipeline("AuraFlowPipeline", scheduler=scheduler, transformer=zoo("AuraFlowTransformer2DModel"))


style("auraflow", make, ARGUMENTS)
