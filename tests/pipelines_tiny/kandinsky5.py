"""Kandinsky 5: a video, two calls a step without names, the conditional one first."""

from __future__ import annotations

from typing import Any

import diffusers
import torch

from .style import TEXT, noise, pipeline, style, text, zoo


def lengths() -> torch.Tensor:
    return torch.tensor([0, TEXT], dtype=torch.int32)


ARGUMENTS = {
    "prompt_embeds_qwen": text(),
    "prompt_embeds_clip": noise(1, 10, seed=3),
    "prompt_cu_seqlens": lengths,
    "negative_prompt_embeds_qwen": text(seed=2),
    "negative_prompt_embeds_clip": noise(1, 10, seed=4),
    "negative_prompt_cu_seqlens": lengths,
    "latents": noise(1, 3, 8, 12, 4),
    "height": 64,
    "width": 96,
    "num_frames": 9,
}


def make() -> Any:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    return pipeline("Kandinsky5T2VPipeline", scheduler=scheduler, transformer=zoo("Kandinsky5Transformer3DModel"))


style("kandinsky5", make, ARGUMENTS, branches=(0, 1))
