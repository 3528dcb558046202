"""Transformers to time: the embedded one, and random ones of published shapes, with the calls of one generation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from diffusers.models import DiTTransformer2DModel
from torch import Tensor, nn

from toca.eval.architectures import architecture
from toca.eval.architectures.calls import NO_ADDED_CONDITIONS, Call, Calls, pixart_branch, timestep
from toca.eval.architectures.making import with_random_weights
from toca.eval.benchmarks.random_weights import build_denoiser
from toca.pipelines.loading import load

Build = Callable[[torch.device, torch.dtype], tuple[nn.Module, Calls]]


@dataclass(frozen=True)
class Case:
    """A transformer and the calls of a generation.

    Args:
        about (`str`): One line for the report.
        build (`Callable`): `(device, dtype) -> (transformer, calls)`.
        methods (`tuple[str, ...]`): Presets to time; none where toca does not know the family.
        batched_cfg (`bool`): Whether the halves of the batch are guidance branches.
        blocks (`tuple[str, ...]`): Block classes for regional compilation.
    """

    about: str
    build: Build
    methods: tuple[str, ...]
    batched_cfg: bool = False
    blocks: tuple[str, ...] = field(default=("BasicTransformerBlock",))


def dit(heads: int, head_dim: int, layers: int, batch: int, steps: int, size: int = 32) -> Build:
    """A random DiT, `(size / 2)**2` tokens."""

    def build(device: torch.device, dtype: torch.dtype) -> tuple[nn.Module, Calls]:
        labels = torch.arange(batch, device=device) % 1000

        def call(latents: Tensor, progress: float) -> Call:
            times = timestep(progress, batch, device)
            return {"hidden_states": latents, "timestep": times, "class_labels": labels}

        calls = Calls([call], (batch, 4, size, size), steps, device, dtype)
        make = partial(DiTTransformer2DModel, heads, head_dim, 4, 8, layers, sample_size=size)
        return with_random_weights(make, device, dtype), calls

    return build


def emoji(batch: int, steps: int) -> Build:
    """The transformer of the embedded pipeline, with real prompts, both guidance branches in the batch."""

    def build(device: torch.device, dtype: torch.dtype) -> tuple[nn.Module, Calls]:
        pipe: Any = load("emoji", dtype=dtype, device=device)
        text, mask, null, null_mask = pipe.encode_prompt(["a red apple"] * (batch // 2), clean_caption=False)
        branch = pixart_branch(torch.cat([null, text]).to(dtype), torch.cat([null_mask, mask]), NO_ADDED_CONDITIONS)
        size = pipe.transformer.config.sample_size
        return pipe.transformer, Calls([branch], (batch // 2, 4, size, size), steps, device, dtype)

    return build


def published(name: str, samples: int = 1, methods: tuple[str, ...] = ()) -> Case:
    """A transformer of `toca.eval.architectures` as it is published, with random weights; timed uncached where toca
    does not know its family."""
    model = architecture(name)

    def build(device: torch.device, dtype: torch.dtype) -> tuple[nn.Module, Calls]:
        return build_denoiser(name, device=device, dtype=dtype, batch_size=samples)

    about = f"random {model.about}, {model.defaults.height} x {model.defaults.width}, {samples} at a time"
    return Case(about, build, methods if model.cacheable else (), model.guidance == "batched", model.blocks)


DIT = ("toca/dit-ddim50", "fora/dit")
PIXART = ("toca/pixart", "fora/dit")
FLUX = ("toca/flux", "fora/dit")
WAN = ("taylorseer/wan", "easycache/wan", "fora/flux")
HUNYUANVIDEO = ("duca/hunyuanvideo", "taylorseer/hunyuanvideo", "fora/flux")
SD3 = ("ras/sd3", "fora/flux")
COGVIDEOX = ("pab/cogvideox", "fora/dit")
LTX = ("teacache/ltx", "fora/dit")

CASES: dict[str, Case] = {
    "emoji": Case("embedded emoji PixArt, batch 8 x 2 branches", emoji(16, 20), PIXART, batched_cfg=True),
    "dit-small": Case("random DiT, width 384, 8 layers, 256 tokens, batch 16", dit(6, 64, 8, 16, 50), DIT),
    "dit-xl": Case("random DiT-XL/2, 256 tokens, batch 16", dit(16, 72, 28, 16, 50), DIT),
    "pixart-256": published("pixart-256", 8, PIXART),
    "pixart-1024": published("pixart-1024", 2, PIXART),
    "flux": published("flux-dev", 1, FLUX),
    "sd3.5-large": published("sd3.5-large", 1, SD3),
    "wan2.1-14b": published("wan2.1-14b", 1, WAN),
    "hunyuanvideo": published("hunyuanvideo", 1, HUNYUANVIDEO),
    "cogvideox-5b": published("cogvideox-5b", 1, COGVIDEOX),
    "ltx-video": published("ltx-video", 1, LTX),
}
