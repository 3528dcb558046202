"""Ideogram 4: two transformers, of which each has a call in every step; time rises."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from torch import Tensor

from .style import TEXT, style, text, zoo

ARGUMENTS = {
    "prompt": "a red owl",
    "height": 64,
    "width": 96,
    "max_sequence_length": TEXT,
    "guidance_scale": 3.0,
    "guidance_schedule": None,
}
WIDTH = 12


def make() -> Any:
    class WithoutTextEncoder(diffusers.Ideogram4Pipeline):
        """Prompts are numbers by chance."""

        def encode_prompt(self, prompt: str, grid_h: int, grid_w: int, **_: Any) -> tuple[Tensor, ...]:
            image = torch.zeros(1, grid_h * grid_w, WIDTH)
            ids = self._prepare_ids([TEXT], grid_h, grid_w, TEXT, torch.device("cpu"))
            return torch.cat([text(width=WIDTH)(), image], dim=1), *ids

    name = "Ideogram4Transformer2DModel"
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    pipe = WithoutTextEncoder(
        scheduler, None, None, None, transformer=zoo(name), unconditional_transformer=zoo(name, seed=1)
    )
    pipe.patch_size = 2
    return pipe


style("ideogram4", make, ARGUMENTS, calls=2 * 5)
