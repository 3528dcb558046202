"""ToCa and FORA on DiTTransformer2DModel, step by step. Notes, sections 1 (ToCa) and 4 (FORA)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import common, schedules
from .common import Moment, Pick

RATIOS = {"ddim50": schedules.ratio_dit50, "ddpm250": schedules.ratio_dit250}
Cache = dict[str, Any]


@torch.no_grad()
def run_toca_dit(
    transformer: nn.Module,
    inputs: list[dict[str, Any]],
    *,
    N: int,
    R0: float,
    preset: str = "ddim50",
    bonus: tuple[int, float] = (2, 0.6),
    trace: list[Pick] | None = None,
) -> list[Tensor]:
    """The sample of every call. Self-attention is reused whole; the feed-forward recomputes the best tokens by
    s1 + s3, then s4; every row selects on its own. `s` counts down."""
    S, L = len(inputs), len(transformer.transformer_blocks)
    full = schedules.full_steps_dit(S, N)
    caches: list[Cache] = [{} for _ in range(L)]
    outputs = []
    for i, call in enumerate(inputs):
        moment = Moment(i, full[i], trace)
        grid = _grid(transformer, call)

        def partial_ff(layer: int, x: Tensor, step: int = i, moment: Moment = moment, grid: tuple = grid) -> None:
            ratio = RATIOS[preset](R0, S - 1 - step, S, layer, L)
            block = transformer.transformer_blocks[layer]
            _partial_ff(block.ff, caches[layer], x, ratio, N, bonus, grid, moment, layer)

        outputs.append(_forward(transformer, call, caches, moment, partial_ff))
    return outputs


@torch.no_grad()
def run_fora(
    transformer: nn.Module, inputs: list[dict[str, Any]], *, N: int, counts_down: bool = True
) -> list[Tensor]:
    """The sample of every call. Between full steps attention and feed-forward are reused, before their gates."""
    full = schedules.full_steps_fora(len(inputs), N, counts_down)
    caches: list[Cache] = [{} for _ in transformer.transformer_blocks]
    return [
        _forward(transformer, call, caches, Moment(i, full[i]), lambda layer, x: None) for i, call in enumerate(inputs)
    ]


def _forward(
    transformer: nn.Module,
    call: dict[str, Any],
    caches: list[Cache],
    moment: Moment,
    partial_ff: Callable[[int, Tensor], None],
) -> Tensor:
    timestep, labels = call["timestep"], call["class_labels"]
    x = transformer.pos_embed(call["hidden_states"])
    for layer, block in enumerate(transformer.transformer_blocks):
        cache = caches[layer]
        normed, gate_attn, shift, scale, gate_ff = block.norm1(x, timestep, labels, hidden_dtype=x.dtype)
        if moment.full:
            _full_attention(block.attn1, cache, normed)
        x = x + gate_attn[:, None] * cache["attn"]
        normed = block.norm3(x) * (1 + scale[:, None]) + shift[:, None]
        if moment.full:
            cache["ff"] = block.ff(normed)
            cache["stale"] = [[0] * x.shape[1] for _ in range(x.shape[0])]
        else:
            partial_ff(layer, normed)
        x = x + gate_ff[:, None] * cache["ff"]
    return _output(transformer, x, timestep, labels, _grid(transformer, call))


def _full_attention(attn: nn.Module, cache: Cache, x: Tensor) -> None:
    """Output after its projection, and how much attention each token receives."""
    query, key, value = (common.split_heads(linear(x), attn.heads) for linear in (attn.to_q, attn.to_k, attn.to_v))
    probabilities = common.attention_map(query, key)
    cache["attn"] = attn.to_out[0](common.join_heads(probabilities.to(x.dtype) @ value))
    cache["received"] = common.attention_received(probabilities)


def _partial_ff(
    ff: nn.Module,
    cache: Cache,
    x: Tensor,
    ratio: float,
    interval: int,
    bonus: tuple[int, float],
    grid: tuple[int, int],
    moment: Moment,
    layer: int,
) -> None:
    for row in range(x.shape[0]):
        scores = common.final_scores(cache["received"][row], cache["stale"][row], interval)
        scores = common.raise_best_of_patches(scores, grid, *bonus)
        tokens, margin = common.take_best(scores, ratio)
        cache["ff"] = common.recompute_rows(cache["ff"], x, row, tokens, ff)
        cache["stale"][row] = common.age(cache["stale"][row], tokens)
        common.note(moment, layer, "ff", row, tokens, margin)


def _grid(transformer: nn.Module, call: dict[str, Any]) -> tuple[int, int]:
    size = transformer.config.patch_size
    height, width = call["hidden_states"].shape[-2:]
    return height // size, width // size


def _output(transformer: nn.Module, x: Tensor, timestep: Tensor, labels: Tensor, grid: tuple[int, int]) -> Tensor:
    """The final norm, modulation and projection, and back from tokens to pixels."""
    condition = transformer.transformer_blocks[0].norm1.emb(timestep, labels, hidden_dtype=x.dtype)
    shift, scale = transformer.proj_out_1(F.silu(condition)).chunk(2, dim=1)
    x = transformer.norm_out(x) * (1 + scale[:, None]) + shift[:, None]
    return unpatchify(transformer.proj_out_2(x), grid, transformer.config.patch_size)


def unpatchify(x: Tensor, grid: tuple[int, int], size: int) -> Tensor:
    """(B, height * width, size * size * channels) to (B, channels, height * size, width * size)."""
    height, width = grid
    batch = x.shape[0]
    x = x.reshape(batch, height, width, size, size, -1)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(batch, -1, height * size, width * size)
