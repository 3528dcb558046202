"""Helios: a video in chunks, each a run of the scheduler by itself; with the pyramid, several runs of growing size."""

from __future__ import annotations

from typing import Any

import diffusers
import torch

from .style import pipeline, style, text, zoo

ARGUMENTS = {
    "prompt": None,
    "prompt_embeds": text(),
    "negative_prompt_embeds": text(seed=2),
    "height": 64,
    "width": 96,
    "num_frames": 18,
    "num_latent_frames_per_chunk": 3,
    "history_sizes": lambda: [4, 2, 1],
}


def vae() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = diffusers.AutoencoderKLWan(
            base_dim=4,
            z_dim=4,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
        )
    return made.eval()


def make(name: str = "HeliosPipeline", **stages: Any) -> Any:
    parts = {
        "scheduler": diffusers.HeliosScheduler(scheduler_type="euler", **stages),
        "vae": vae(),
        "transformer": zoo("HeliosTransformer3DModel", has_multi_term_memory_patch=True),
    }
    return pipeline(name, **parts)


NAMED = ("cond", "uncond")
ONE = {"stages": 1, "stage_range": [0, 1], "gamma": 1.0}
style("helios", lambda: make(**ONE), ARGUMENTS, branches=NAMED, steps="FrFrF" * 2)
STAGES = {"height": 128, "width": 128, "pyramid_num_inference_steps_list": [3, 3, 3]}
style(
    "helios-pyramid",
    lambda: make("HeliosPyramidPipeline", gamma=0.25),
    ARGUMENTS | STAGES,
    branches=NAMED,
    steps="FrF" * 6,
    matrix=True,
)
