"""A family from outside diffusers: Open-Sora 1.2's STDiT in a few lines, with the methods published for it.

    python examples/third_party_family.py            # runs a small model, in half a minute on two CPU cores
    python examples/third_party_family.py --real     # runs the real sizes with random weights, for an accelerator

The model is written down here as a plain module: blocks that attend within frames and blocks that attend along time in
turn, each with cross-attention to the text and a feed-forward over all tokens. What toca knows of it stands in
`OPEN_SORA` at the end. FLOPs at the real sizes come from the plans alone; nothing runs for them.
"""

from __future__ import annotations

import argparse
import functools
import math
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from torch import nn

import toca
from toca.models.attention import CLASSIC
from toca.models.sites import cross_attention, feed_forward, self_attention

STEPS = 30
PATCH = 2


class Sizes(NamedTuple):
    """Of a model and its videos: (frames, height, width) in latents, of which a token is two by two."""

    width: int
    depth: int
    heads: int
    latents: tuple[int, int, int]
    text_tokens: int
    text_width: int


REAL = Sizes(1152, 28, 16, (15, 60, 106), 300, 4096)
"""Open-Sora 1.2, 51 frames of 480p (9:16)."""
SMALL = Sizes(64, 3, 2, (4, 12, 20), 20, 32)


# --- the model -----------------------------------------------------------------------------------------------------


class STBlock(nn.Module):
    """Attention within each frame, or along time at each place; cross-attention; feed-forward: (B, F * S, C)."""

    def __init__(self, sizes: Sizes, temporal: bool) -> None:
        super().__init__()
        width, head = sizes.width, sizes.width // sizes.heads
        self.temporal = temporal
        self.norm1, self.norm2 = (nn.LayerNorm(width, elementwise_affine=False, eps=1e-6) for _ in range(2))
        self.attn = Attention(width, heads=sizes.heads, dim_head=head, bias=True, qk_norm="rms_norm")
        self.cross_attn = Attention(width, width, heads=sizes.heads, dim_head=head, bias=True)
        self.mlp = FeedForward(width, mult=4, activation_fn="gelu-approximate")
        self.scale_shift_table = nn.Parameter(torch.randn(6, width) / width**0.5)

    def forward(self, x: torch.Tensor, text: torch.Tensor, time: torch.Tensor, frames: int) -> torch.Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.scale_shift_table + time)[:, :, None].unbind(1)
        x = x + gate1 * self._attend(self.norm1(x) * (1 + scale1) + shift1, frames)
        x = x + self.cross_attn(x, encoder_hidden_states=text)
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)

    def _attend(self, x: torch.Tensor, frames: int) -> torch.Tensor:
        grid = x.unflatten(1, (frames, -1))
        if not self.temporal:
            return self.attn(grid.flatten(0, 1)).view_as(grid).flatten(1, 2)
        by_place = grid.transpose(1, 2)
        return self.attn(by_place.flatten(0, 1)).view_as(by_place).transpose(1, 2).flatten(1, 2)


class STDiT3(nn.Module):
    """Latents (B, 4, F, H, W), timesteps (B,) and text (B, T, C) to velocity and variance (B, 8, F, H, W)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.width
        self.config = SimpleNamespace(sizes=sizes)
        self.x_embedder = nn.Conv3d(4, width, (1, PATCH, PATCH), stride=(1, PATCH, PATCH))
        self.t_embedder = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.y_embedder = FeedForward(sizes.text_width, width, inner_dim=width, activation_fn="gelu-approximate")
        self.spatial_blocks = nn.ModuleList(STBlock(sizes, temporal=False) for _ in range(sizes.depth))
        self.temporal_blocks = nn.ModuleList(STBlock(sizes, temporal=True) for _ in range(sizes.depth))
        self.final_norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.final_layer = nn.Linear(width, 8 * PATCH**2)

    @property
    def dtype(self) -> torch.dtype:
        return self.final_layer.weight.dtype

    def forward(self, x: torch.Tensor, timestep: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor]:
        patches = self.x_embedder(x)
        frames, height, width = patches.shape[2:]
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = tokens + waves(torch.arange(tokens.shape[1], device=x.device), tokens.shape[2]).to(tokens)
        time = self.t_block(self.t_embedder(waves(timestep, 256).to(tokens))).unflatten(1, (6, -1))
        text = self.y_embedder(y)
        for spatial, temporal in zip(self.spatial_blocks, self.temporal_blocks, strict=True):
            tokens = temporal(spatial(tokens, text, time, frames), text, time, frames)
        pixels = self.final_layer(self.final_norm(tokens))
        pixels = pixels.unflatten(2, (8, PATCH, PATCH)).unflatten(1, (frames, height, width))
        return (pixels.permute(0, 4, 1, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4),)


def waves(numbers: torch.Tensor, width: int) -> torch.Tensor:
    """Sines and cosines of numbers (n,): (n, width)."""
    rates = torch.exp(-math.log(10_000) * torch.arange(width // 2, device=numbers.device) / (width // 2))
    angles = numbers[:, None].float() * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1)


# --- what toca knows of it -----------------------------------------------------------------------------------------


def call_shape(transformer: Any, call: dict[str, Any]) -> toca.CallShape:
    batch, _, frames, height, width = call["x"].shape
    return toca.CallShape(
        batch, (height // PATCH) * (width // PATCH), (height // PATCH, width // PATCH), call["y"].shape[1], frames
    )


def default_shape(
    config: Any, height: int | None, width: int | None, num_frames: int | None, text_tokens: int | None
) -> toca.CallShape:
    frames, own_height, own_width = config.sizes.latents
    rows, columns = (height or own_height) // PATCH, (width or own_width) // PATCH
    text = config.sizes.text_tokens if text_tokens is None else text_tokens
    return toca.CallShape(1, rows * columns, (rows, columns), text, num_frames or frames)


def block(stack: str, rows: str) -> toca.BlockSpec:
    """A stack whose self-attention works on frames or places, and all else on whole videos."""
    sites = (self_attention("attn", rows=rows), cross_attention("cross_attn"), feed_forward("mlp", "norm2"))
    return toca.BlockSpec(stack, f"{stack}_blocks", sites, streams=("x",), main="x")


OPEN_SORA = toca.FamilySpec(
    name="opensora",
    transformer="STDiT3",
    stacks=(block("spatial", rows="frame"), block("temporal", rows="position")),
    interleaved=True,
    call_shape=call_shape,
    default_shape=default_shape,
    attention=CLASSIC,
    around=(
        ("x_embedder", "token"),
        ("t_embedder", "sample"),
        ("t_block", "sample"),
        ("y_embedder", "text_token"),
        ("final_layer", "token"),
    ),
    latents="x",
    batched=("x", "timestep", "y"),
    condition="y",
    by_row=("AttnProcessor",),
    input="x_embedder",
    output="final_layer",
)
toca.register(OPEN_SORA)


# --- what it gains -------------------------------------------------------------------------------------------------

PUBLISHED = {
    "toca/opensora": "2.28-2.36x",
    "pab/opensora": "1.24-1.28x",
    "duca/opensora": "2.50x",
    "fora": "1.87x",
}
"""FLOPs speed-ups that the papers report."""


def method_of(name: str) -> toca.Method:
    """A published setting by its name; FORA as ToCa's paper compares with it: N = 2, the first three steps full."""
    if name == "fora":
        return toca.ToCa(interval=2, module_factor={}, warmup_steps=3)
    return toca.preset(name)


def timesteps() -> tuple[float, ...]:
    """Those of rectified flow from 1000 down, shifted as Open-Sora does for the length and the size of the video."""
    frames, height, width = REAL.latents
    shift = math.sqrt(frames * (8 * height * 8 * width) / 512**2)
    even = [1 - step / STEPS for step in range(STEPS)]
    return tuple(1000 * shift * t / (1 + (shift - 1) * t) for t in even)


def plan_of(name: str, model: STDiT3) -> toca.Plan:
    """What a method will do; PAB asks for the timesteps, which a bare model's calls do not tell beforehand."""
    return method_of(name).plan(model, STEPS, timesteps())


@functools.cache
def unmade() -> STDiT3:
    """The model at its real sizes, without weights: enough to plan for."""
    with torch.device("meta"):
        return STDiT3(REAL)


def predicted_speedup(name: str) -> float:
    """FLOPs without a cache over FLOPs with it at the real sizes, from the plan; nothing runs."""
    return plan_of(name, unmade()).cost(batch_size=2, batched_cfg=True).flops_speedup


@torch.no_grad()
def generate(model: STDiT3, name: str | None, device: torch.device) -> tuple[torch.Tensor, toca.Summary | None]:
    """One video by rectified flow with guidance 7, both branches in a batch; what a method did."""
    sizes, generator = model.config.sizes, torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, *sizes.latents, generator=generator).to(device, model.dtype)
    text = torch.randn(2, sizes.text_tokens, sizes.text_width, generator=generator).to(device, model.dtype)
    if name is not None:
        toca.enable_cache(model, plan_of(name, model), num_inference_steps=STEPS, batched_cfg=True)
    times = timesteps()
    for time, later in zip(times, (*times[1:], 0.0), strict=True):
        batch = torch.full((2,), time, device=device, dtype=model.dtype)
        velocity = model(torch.cat([latents, latents]), timestep=batch, y=text)[0][:, :4]
        uncond, cond = velocity.chunk(2)
        latents = latents - (uncond + 7 * (cond - uncond)) * (time - later) / 1000
    summary = None if name is None else toca.summary(model)
    toca.disable_cache(model)
    return latents, summary


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Open-Sora's STDiT, and the methods published for it.")
    parser.add_argument("--real", action="store_true", help="Run the real sizes, and not small ones.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(words)
    torch.manual_seed(0)
    device = torch.device(options.device)
    model = STDiT3(REAL if options.real else SMALL).to(device).requires_grad_(False).eval()
    full, _ = generate(model, None, device)
    print(f"{'method':<15}{'steps':<32}{'FLOPs, here':>12}{'real sizes':>12}{'published':>12}{'error':>8}")
    for name, published in PUBLISHED.items():
        video, summary = generate(model, name, device)
        assert summary is not None
        error = ((video - full).norm() / full.norm()).item()
        here, real = f"{summary.flops_speedup:.2f}x", f"{predicted_speedup(name):.2f}x"
        print(f"{name:<15}{summary.steps:<32}{here:>12}{real:>12}{published:>12}{error:>8.3f}")


if __name__ == "__main__":
    main()
