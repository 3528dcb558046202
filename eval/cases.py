"""Transformers to time: the embedded one, and random ones of published shapes, with the calls of one generation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import DiTTransformer2DModel, FluxTransformer2DModel, PixArtTransformer2DModel
from torch import nn

from toca.pipelines.loading import load

Calls = list[dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """A transformer and the calls of a generation.

    Args:
        about (`str`): One line for the report.
        build (`Callable`): `(device, dtype) -> (transformer, calls)`.
        methods (`tuple[str, ...]`): Presets to time.
        batched_cfg (`bool`): Whether the halves of the batch are guidance branches.
        blocks (`tuple[str, ...]`): Block classes for regional compilation.
    """

    about: str
    build: Callable[[torch.device, torch.dtype], tuple[nn.Module, Calls]]
    methods: tuple[str, ...]
    batched_cfg: bool = False
    blocks: tuple[str, ...] = field(default=("BasicTransformerBlock",))


def _moving_latents(
    shape: tuple[int, ...], steps: int, device: torch.device, dtype: torch.dtype
) -> list[torch.Tensor]:
    """Latents that turn slowly from one noise into another, as in a generation; made on the CPU, from one seed."""
    generator = torch.Generator().manual_seed(0)
    start, end = (torch.randn(shape, generator=generator).to(device, dtype) for _ in range(2))
    angles = [math.pi / 2 * step / steps for step in range(steps)]
    return [math.cos(angle) * start + math.sin(angle) * end for angle in angles]


def _random_weights(make: Callable[[], nn.Module], device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The model with torch's default initialisation, made on the device in its dtype."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            torch.manual_seed(0)
            return make().to(dtype).requires_grad_(False).eval()
    finally:
        torch.set_default_dtype(default)


def _timestep(step: int, steps: int, batch: int, device: torch.device) -> torch.Tensor:
    return torch.full((batch,), 999 - 999 * step // steps, device=device)


def dit(heads: int, head_dim: int, layers: int, batch: int, steps: int, size: int = 32) -> Callable:
    """A random DiT, `(size / 2)**2` tokens."""

    def build(device: torch.device, dtype: torch.dtype) -> tuple[nn.Module, Calls]:
        def make() -> nn.Module:
            return DiTTransformer2DModel(heads, head_dim, 4, 8, layers, sample_size=size)

        labels = torch.arange(batch, device=device) % 1000
        latents = _moving_latents((batch, 4, size, size), steps, device, dtype)
        return _random_weights(make, device, dtype), [
            {"hidden_states": x, "timestep": _timestep(i, steps, batch, device), "class_labels": labels}
            for i, x in enumerate(latents)
        ]

    return build


def _pixart_calls(latents: list[torch.Tensor], text: torch.Tensor, mask: torch.Tensor) -> Calls:
    """Both guidance branches in one batch: the same latents twice, `text` (B, T, C) and `mask` (B, T) of both."""
    return [
        {
            "hidden_states": torch.cat([x, x]),
            "encoder_hidden_states": text,
            "encoder_attention_mask": mask,
            "timestep": _timestep(i, len(latents), text.shape[0], text.device),
            "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
        }
        for i, x in enumerate(latents)
    ]


def pixart(batch: int, steps: int, size: int, layers: int = 28) -> Callable:
    """A random PixArt-alpha XL/2, `(size / 2)**2` tokens, 120 text tokens."""

    def build(device: torch.device, dtype: torch.dtype) -> tuple[nn.Module, Calls]:
        def make() -> nn.Module:
            return PixArtTransformer2DModel(num_layers=layers, sample_size=size, caption_channels=4096)

        text = torch.randn(batch, 120, 4096, generator=torch.Generator().manual_seed(1)).to(device, dtype)
        mask = torch.ones(batch, 120, device=device)
        mask[: batch // 2, 20:] = 0
        latents = _moving_latents((batch // 2, 4, size, size), steps, device, dtype)
        return _random_weights(make, device, dtype), _pixart_calls(latents, text, mask)

    return build


def flux(dual: int, single: int, side: int, steps: int, text_tokens: int = 512) -> Callable:
    """A random FLUX.1 of width 3072, `side**2` image tokens."""

    def build(device: torch.device, dtype: torch.dtype) -> tuple[nn.Module, Calls]:
        def make() -> nn.Module:
            return FluxTransformer2DModel(num_layers=dual, num_single_layers=single, guidance_embeds=True)

        ids = torch.zeros(side, side, 3, device=device, dtype=dtype)
        ids[..., 1] += torch.arange(side, device=device)[:, None]
        ids[..., 2] += torch.arange(side, device=device)[None]
        text = torch.randn(1, text_tokens, 4096, generator=torch.Generator().manual_seed(1)).to(device, dtype)
        latents = _moving_latents((1, side * side, 64), steps, device, dtype)
        return _random_weights(make, device, dtype), [
            {
                "hidden_states": x,
                "encoder_hidden_states": text,
                "pooled_projections": text[:, 0, :768].contiguous(),
                "timestep": torch.full((1,), 1 - i / steps, device=device, dtype=dtype),
                "guidance": torch.full((1,), 3.5, device=device),
                "img_ids": ids.view(-1, 3),
                "txt_ids": torch.zeros(text_tokens, 3, device=device, dtype=dtype),
            }
            for i, x in enumerate(latents)
        ]

    return build


def emoji(batch: int, steps: int) -> Callable:
    """The transformer of the embedded pipeline, with real prompts, both guidance branches in the batch."""

    def build(device: torch.device, dtype: torch.dtype) -> tuple[nn.Module, Calls]:
        pipe = load("emoji", dtype=dtype, device=device)
        text, mask, null, null_mask = pipe.encode_prompt(["a red apple"] * (batch // 2), clean_caption=False)
        size = pipe.transformer.config.sample_size
        latents = _moving_latents((batch // 2, 4, size, size), steps, device, dtype)
        return pipe.transformer, _pixart_calls(
            latents, torch.cat([null, text]).to(dtype), torch.cat([null_mask, mask])
        )

    return build


DIT = ("toca/dit-ddim50", "fora/dit")
PIXART = ("toca/pixart", "fora/dit")
FLUX = ("toca/flux", "fora/dit")
FLUX_BLOCKS = ("FluxTransformerBlock", "FluxSingleTransformerBlock")

CASES: dict[str, Case] = {
    "emoji": Case("embedded emoji PixArt, batch 8 x 2 branches", emoji(16, 20), PIXART, batched_cfg=True),
    "dit-small": Case("random DiT, width 384, 8 layers, 256 tokens, batch 16", dit(6, 64, 8, 16, 50), DIT),
    "dit-xl": Case("random DiT-XL/2, 256 tokens, batch 16", dit(16, 72, 28, 16, 50), DIT),
    "pixart-256": Case("random PixArt-alpha XL/2, 256 tokens, batch 16", pixart(16, 20, 32), PIXART, True),
    "pixart-1024": Case("random PixArt-alpha XL/2, 4096 tokens, batch 4", pixart(4, 20, 128), PIXART, True),
    "flux": Case("random FLUX.1, 19 + 38 blocks, 4096 + 512 tokens", flux(19, 38, 64, 50), FLUX, blocks=FLUX_BLOCKS),
}
