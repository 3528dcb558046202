"""SkyReels V2: diffusion forcing. All frames move together, or blocks of frames one behind the other."""

from __future__ import annotations

from typing import Any

import diffusers

from .style import pipeline, style, text, zoo

ARGUMENTS = {
    "prompt": None,
    "prompt_embeds": text(),
    "negative_prompt_embeds": text(seed=2),
    "height": 64,
    "width": 96,
    "num_frames": 9,
    "base_num_frames": 9,
}


def make() -> Any:
    scheduler = diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction")
    transformer = zoo("SkyReelsV2Transformer3DModel")
    return pipeline("SkyReelsV2DiffusionForcingPipeline", scheduler=scheduler, transformer=transformer)


NAMED = ("cond", "uncond")
style("skyreels", make, ARGUMENTS | {"ar_step": 0}, branches=NAMED)
APART = {"ar_step": 2, "causal_block_size": 1}
# The first two calls, in which no frame has moved yet, begin a generation that is given up; the others are of none.
style("skyreels-apart", make, ARGUMENTS | APART, branches=(), steps="", past=16)
# Windows of a longer video, each with the whole schedule.
LONG = {"ar_step": 0, "num_frames": 17, "overlap_history": 5}
style("skyreels-long", make, ARGUMENTS | LONG, branches=NAMED, steps="FrFrF" * 3)
