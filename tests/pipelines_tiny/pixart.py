"""PixArt: guidance in a batch, the unconditional half first; with perturbed attention three parts."""

from __future__ import annotations

from typing import Any

import diffusers

from ..helpers import TEXT_WIDTH, tiny_pixart_pipeline, tiny_vae
from .style import TEXT, mask, style, text

SIZE = {"height": 32, "width": 32, "use_resolution_binning": False}


def prompts(width: int = TEXT_WIDTH, tokens: int = TEXT) -> dict[str, Any]:
    return {
        "prompt": None,
        "negative_prompt": None,
        "prompt_embeds": text(tokens, width),
        "negative_prompt_embeds": text(tokens, width, seed=2),
        "prompt_attention_mask": mask(tokens),
        "negative_prompt_attention_mask": mask(tokens),
    }


def make(name: str = "PixArtSigmaPipeline", **more: Any) -> Any:
    parts = tiny_pixart_pipeline(sample_size=16, patch_size=2).components
    return getattr(diffusers, name)(**parts | {"vae": tiny_vae()} | more)


ARGUMENTS = SIZE | prompts()
style("pixart", make, ARGUMENTS)
style("pixart-unguided", make, ARGUMENTS | {"guidance_scale": 1.0})
style("pixart-images", make, ARGUMENTS | {"num_images_per_prompt": 2})
style("pixart-euler", lambda: make(scheduler=diffusers.EulerDiscreteScheduler()), ARGUMENTS)
style("pixart-ddim", lambda: make(scheduler=diffusers.DDIMScheduler()), ARGUMENTS)
style("pixart-pag", lambda: make("PixArtSigmaPAGPipeline"), ARGUMENTS | {"pag_scale": 2.0})
# A second-order scheduler has two calls a step, of which the last step has one: nine.
style("pixart-heun", lambda: make(scheduler=diffusers.HeunDiscreteScheduler()), ARGUMENTS, steps="FrFrFrFrF")
