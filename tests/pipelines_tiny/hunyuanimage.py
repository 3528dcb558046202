"""HunyuanImage: a guider that calls once for each of its branches, and names them so."""

from __future__ import annotations

from typing import Any

import diffusers

from .style import TEXT, mask, noise, pipeline, style, text, zoo


def prompts(tokens: int = TEXT, seed: int = 1, sign: str = "", width_2: int = 6) -> dict[str, Any]:
    return {
        f"{sign}prompt_embeds": text(tokens, seed=seed),
        f"{sign}prompt_embeds_mask": mask(tokens),
        f"{sign}prompt_embeds_2": text(3, width_2, seed=seed + 10),
        f"{sign}prompt_embeds_mask_2": mask(3),
    }


ARGUMENTS = {"latents": noise(1, 4, 4, 6), "height": 128, "width": 192} | prompts() | prompts(seed=2, sign="negative_")


def make() -> Any:
    parts = {
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(),
        "transformer": zoo("HunyuanImageTransformer2DModel"),
        "guider": diffusers.AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=0),
        "ocr_guider": diffusers.AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=0),
    }
    return pipeline("HunyuanImagePipeline", **parts)


style("hunyuanimage", make, ARGUMENTS, branches=("cond", "uncond"))
