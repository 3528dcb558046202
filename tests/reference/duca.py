"""DuCa on DiTTransformer2DModel and PixArtTransformer2DModel, step by step. Notes, section 2.

What DuCa takes over from ToCa is that of the ToCa references: the schedule, the share of tokens, staleness and bonus.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from . import common, dit, pixart, schedules
from .common import Moment, Pick

Cache = dict[str, Any]


def kinds_dit(S: int, N: int) -> list[str]:
    """ "F", "t" or "a" for each step, s counting down: r = s mod tau, with tau anew after each full step; r = 0 is
    full, an odd r token-wise, an even one aggressive."""
    kinds, tau = [], 1
    for s in range(S - 1, -1, -1):
        r = 0 if s == S - 1 else s % tau
        kinds.append("F" if r == 0 else "t" if r % 2 else "a")
        if r == 0:
            tau = schedules._tau_dit(s, S, N)
    return kinds


def kinds_pixart(S: int, tau: int = 3) -> list[str]:
    """The same with a fixed tau, s counting up."""
    return ["F" if s % tau == 0 else "t" if s % tau % 2 else "a" for s in range(S)]


def scarcity(attn: nn.Module, x: Tensor) -> Tensor:
    """(B, T): the sum over heads of 1 - the norm of the token's value, before any output projection."""
    values = common.split_heads(attn.to_v(x), attn.heads)
    total = torch.zeros(x.shape[:2])
    for head in range(attn.heads):
        total += 1 - torch.sqrt((values[:, head].float() ** 2).sum(dim=-1))
    return total


@torch.no_grad()
def run_duca_dit(
    transformer: nn.Module,
    inputs: list[dict[str, Any]],
    *,
    N: int,
    R0: float,
    bonus: tuple[int, float] = (2, 0.8),
    kinds: list[str] | None = None,
    score: str = "self_attention",
    trace: list[Pick] | None = None,
) -> list[Tensor]:
    """The sample of every call; every row selects on its own. Tokens are rated by the attention that they receive, as
    the authors' DiT code does, or by their values (`"value_norm"`), as the paper has it."""
    S, L = len(inputs), len(transformer.transformer_blocks)
    caches: list[Cache] = [{} for _ in range(L)]
    last: Tensor | None = None
    outputs = []
    for i, (call, kind) in enumerate(zip(inputs, kinds or kinds_dit(S, N), strict=True)):
        moment = Moment(i, kind == "F", trace)
        grid = dit._grid(transformer, call)
        timestep, labels = call["timestep"], call["class_labels"]
        if kind != "a":
            x = transformer.pos_embed(call["hidden_states"])
            for layer, block in enumerate(transformer.transformer_blocks):
                ratio = schedules.ratio_dit50(R0, S - 1 - i, S, layer, L)
                cache = caches[layer]
                x = _dit_block(block, cache, x, timestep, labels, ratio, N, bonus, grid, moment, layer, score)
            last = x
        outputs.append(dit._output(transformer, last, timestep, labels, grid))
    return outputs


def _dit_block(
    block: nn.Module,
    cache: Cache,
    x: Tensor,
    timestep: Tensor,
    labels: Tensor,
    ratio: float,
    N: int,
    bonus: tuple[int, float],
    grid: tuple[int, int],
    moment: Moment,
    layer: int,
    score: str,
) -> Tensor:
    normed, gate_attn, shift, scale, gate_ff = block.norm1(x, timestep, labels, hidden_dtype=x.dtype)
    if moment.full:
        dit._full_attention(block.attn1, cache, normed)
        if score == "value_norm":
            cache["received"] = scarcity(block.attn1, normed)
    x = x + gate_attn[:, None] * cache["attn"]
    normed = block.norm3(x) * (1 + scale[:, None]) + shift[:, None]
    if moment.full:
        cache["ff"], cache["stale"] = block.ff(normed), [[0] * x.shape[1] for _ in range(x.shape[0])]
    else:
        dit._partial_ff(block.ff, cache, normed, ratio, N, bonus, grid, moment, layer)
    return x + gate_ff[:, None] * cache["ff"]


@dataclass(frozen=True)
class PixArtRun:
    """The constants of one run, and where it stands."""

    S: int
    L: int
    N: int
    R0: float
    bonus: tuple[int, float]
    groups: list[list[int]]
    moment: Moment


@torch.no_grad()
def run_duca_pixart(
    transformer: nn.Module,
    inputs: list[dict[str, Any]],
    *,
    N: int = 3,
    R0: float = 0.75,
    bonus: tuple[int, float] = (4, 0.4),
    batched_cfg: bool = False,
    trace: list[Pick] | None = None,
) -> list[Tensor]:
    """The sample of every call; with `batched_cfg` the two guidance branches of an image share one selection, by the
    mean of their scarcities."""
    S, L, rows = len(inputs), len(transformer.transformer_blocks), inputs[0]["hidden_states"].shape[0]
    half = rows // 2
    groups = [[row, row + half] for row in range(half)] if batched_cfg else [[row] for row in range(rows)]
    caches: list[Cache] = [{} for _ in range(L)]
    last: Tensor | None = None
    outputs = []
    for i, (call, kind) in enumerate(zip(inputs, kinds_pixart(S, N), strict=True)):
        run = PixArtRun(S, L, N, R0, bonus, groups, Moment(i, kind == "F", trace))
        x = transformer.pos_embed(call["hidden_states"])
        modulation, embedded = transformer.adaln_single(
            call["timestep"], call.get("added_cond_kwargs"), batch_size=x.shape[0], hidden_dtype=x.dtype
        )
        grid = pixart._grid(transformer, call)
        if kind != "a":
            text = transformer.caption_projection(call["encoder_hidden_states"])
            bias = pixart._text_bias(call.get("encoder_attention_mask"))
            for layer, block in enumerate(transformer.transformer_blocks):
                x = _pixart_block(block, caches[layer], x, modulation, text, bias, grid, run, layer)
            last = x
        shift, scale = (transformer.scale_shift_table[None] + embedded[:, None]).chunk(2, dim=1)
        x = transformer.proj_out(transformer.norm_out(last) * (1 + scale) + shift)
        outputs.append(dit.unpatchify(x, grid, transformer.config.patch_size))
    return outputs


def _pixart_block(
    block: nn.Module,
    cache: Cache,
    x: Tensor,
    modulation: Tensor,
    text: Tensor,
    bias: Tensor | None,
    grid: tuple[int, int],
    run: PixArtRun,
    layer: int,
) -> Tensor:
    table = block.scale_shift_table[None] + modulation.reshape(x.shape[0], 6, -1)
    shift_attn, scale_attn, gate_attn, shift_ff, scale_ff, gate_ff = table.chunk(6, dim=1)
    full = run.moment.full
    if full:
        normed = block.norm1(x) * (1 + scale_attn) + shift_attn
        cache["attn"], cache["scarcity"] = block.attn1(normed), scarcity(block.attn1, normed)
        cache["stale"] = {module: [[0] * x.shape[1] for _ in range(x.shape[0])] for module in ("cross", "ff")}
    x = x + gate_attn * cache["attn"]

    def cross(rows: Tensor, row: slice) -> Tensor:
        row_bias = None if bias is None else bias[row]
        return pixart._cross_attention(block.attn2, rows, text[row], row_bias)[0]

    if full:
        cache["cross"] = cross(x, slice(None))
    else:
        _refresh("cross", cache, x, cross, grid, run, layer)
    x = x + cache["cross"]
    normed = block.norm2(x) * (1 + scale_ff) + shift_ff
    if full:
        cache["ff"] = block.ff(normed)
    else:
        _refresh("ff", cache, normed, lambda rows, _: block.ff(rows), grid, run, layer)
    return x + gate_ff * cache["ff"]


def _refresh(
    module: str, cache: Cache, x: Tensor, compute: Callable, grid: tuple[int, int], run: PixArtRun, layer: int
) -> None:
    """Recompute the best tokens of each group of rows in this module, in the cache."""
    stale = cache["stale"][module]
    ratio = schedules.ratio_pixart(run.R0, run.moment.step, run.S, layer, run.L, module)
    for group in run.groups:
        score = sum(cache["scarcity"][row] for row in group) / len(group)
        scores = common.final_scores(score, stale[group[0]], run.N)
        scores = common.raise_best_of_patches(scores, grid, *run.bonus)
        tokens, margin = common.take_best(scores, ratio)
        for row in group:
            stale[row] = common.age(stale[row], tokens)
            common.note(run.moment, layer, module, row, tokens, margin)
            if tokens:
                one = slice(row, row + 1)
                cache[module][row, torch.tensor(tokens)] = compute(x[one, tokens], one)[0]
