"""SD3: guidance in a batch, the unconditional half first; layers left out in a third call; perturbed attention."""

from __future__ import annotations

from typing import Any

import diffusers

from .style import noise, pipeline, style, text, zoo

ARGUMENTS = {
    "prompt_embeds": text(),
    "negative_prompt_embeds": text(seed=2),
    "pooled_prompt_embeds": noise(1, 10, seed=3),
    "negative_pooled_prompt_embeds": noise(1, 10, seed=4),
    "height": 64,
    "width": 64,
}


def make(name: str = "StableDiffusion3Pipeline", **more: Any) -> Any:
    parts = {"scheduler": diffusers.FlowMatchEulerDiscreteScheduler(), "transformer": zoo("SD3Transformer2DModel")}
    return pipeline(name, **parts | more)


style("sd3", make, ARGUMENTS)
# The third call leaves out a layer: it runs past the cache in the steps from 1% to 50%.
SKIP = {"skip_guidance_layers": [1], "skip_layer_guidance_stop": 0.5}
style("sd3-skip-layer-guidance", make, ARGUMENTS | SKIP, past=2)
HEUN = diffusers.FlowMatchHeunDiscreteScheduler
style("sd3-heun", lambda: make(scheduler=HEUN()), ARGUMENTS, steps="FrFrFrFrF")
style("sd3-pag", lambda: make("StableDiffusion3PAGPipeline"), ARGUMENTS | {"pag_scale": 2.0})
