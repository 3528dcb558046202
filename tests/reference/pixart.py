"""ToCa and FORA on PixArtTransformer2DModel, step by step. Notes, sections 1 (ToCa) and 4 (FORA)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from . import common, schedules
from .common import Moment, Pick
from .dit import unpatchify

Cache = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """The constants of one ToCa run; `None` in their place stands for FORA."""

    S: int
    L: int
    N: int
    R0: float
    bonus: tuple[int, float]
    batched_cfg: bool
    grid: tuple[int, int]

    def groups(self, batch: int) -> list[list[int]]:
        """Rows that share one selection: row b of the unconditional half with row b of the conditional one."""
        if not self.batched_cfg:
            return [[row] for row in range(batch)]
        half = batch // 2
        return [[row, row + half] for row in range(half)]


@torch.no_grad()
def run_toca_pixart(
    transformer: nn.Module,
    inputs: list[dict[str, Any]],
    *,
    N: int,
    R0: float,
    bonus: tuple[int, float] = (4, 0.4),
    batched_cfg: bool = False,
    trace: list[Pick] | None = None,
) -> list[Tensor]:
    """The sample of every call. Self-attention is reused whole; cross-attention, then the feed-forward recompute
    the best tokens by s2 + s3, then s4. `s` counts up."""
    S, L = len(inputs), len(transformer.transformer_blocks)
    full = schedules.full_steps_pixart(S, N)
    settings = Settings(S, L, N, R0, bonus, batched_cfg, _grid(transformer, inputs[0]))
    caches: list[Cache] = [{} for _ in range(L)]
    return [_forward(transformer, call, caches, Moment(i, full[i], trace), settings) for i, call in enumerate(inputs)]


@torch.no_grad()
def run_fora(
    transformer: nn.Module, inputs: list[dict[str, Any]], *, N: int, counts_down: bool = True
) -> list[Tensor]:
    """The sample of every call. Between full steps self-, cross-attention and feed-forward are reused, pre-gate."""
    full = schedules.full_steps_fora(len(inputs), N, counts_down)
    caches: list[Cache] = [{} for _ in transformer.transformer_blocks]
    return [_forward(transformer, call, caches, Moment(i, full[i]), None) for i, call in enumerate(inputs)]


def _forward(
    transformer: nn.Module, call: dict[str, Any], caches: list[Cache], moment: Moment, settings: Settings | None
) -> Tensor:
    x = transformer.pos_embed(call["hidden_states"])
    modulation, embedded = transformer.adaln_single(
        call["timestep"], call.get("added_cond_kwargs"), batch_size=x.shape[0], hidden_dtype=x.dtype
    )
    text = transformer.caption_projection(call["encoder_hidden_states"])
    bias = _text_bias(call.get("encoder_attention_mask"))
    for layer in range(len(caches)):
        x = _block(
            transformer.transformer_blocks[layer], caches[layer], x, modulation, text, bias, moment, settings, layer
        )
    shift, scale = (transformer.scale_shift_table[None] + embedded[:, None]).chunk(2, dim=1)
    x = transformer.proj_out(transformer.norm_out(x) * (1 + scale) + shift)
    return unpatchify(x, _grid(transformer, call), transformer.config.patch_size)


def _block(
    block: nn.Module,
    cache: Cache,
    x: Tensor,
    modulation: Tensor,
    text: Tensor,
    bias: Tensor | None,
    moment: Moment,
    settings: Settings | None,
    layer: int,
) -> Tensor:
    table = block.scale_shift_table[None] + modulation.reshape(x.shape[0], 6, -1)
    shift_attn, scale_attn, gate_attn, shift_ff, scale_ff, gate_ff = table.chunk(6, dim=1)
    if moment.full:
        cache["attn"] = _self_attention(block.attn1, block.norm1(x) * (1 + scale_attn) + shift_attn)
    x = x + gate_attn * cache["attn"]
    if moment.full:
        cache["cross"], cache["map"] = _cross_attention(block.attn2, x, text, bias)
    elif settings is not None:
        _partial_cross(block.attn2, cache, x, text, bias, moment, settings, layer)
    x = x + cache["cross"]  # PixArt's cross-attention has neither norm nor gate
    normed = block.norm2(x) * (1 + scale_ff) + shift_ff
    if moment.full:
        cache["ff"] = block.ff(normed)
        cache["stale"] = {module: [[0] * x.shape[1] for _ in range(x.shape[0])] for module in ("cross", "ff")}
    elif settings is not None:
        _partial_ff(block.ff, cache, normed, moment, settings, layer)
    return x + gate_ff * cache["ff"]


def _self_attention(attn: nn.Module, x: Tensor) -> Tensor:
    query, key, value = (common.split_heads(linear(x), attn.heads) for linear in (attn.to_q, attn.to_k, attn.to_v))
    return attn.to_out[0](common.join_heads(common.attention_map(query, key).to(x.dtype) @ value))


def _cross_attention(attn: nn.Module, x: Tensor, text: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Output after its projection, and the head-mean map (B, T, text)."""
    query = common.split_heads(attn.to_q(x), attn.heads)
    key, value = (common.split_heads(linear(text), attn.heads) for linear in (attn.to_k, attn.to_v))
    probabilities = common.attention_map(query, key, bias)
    return attn.to_out[0](common.join_heads(probabilities.to(x.dtype) @ value)), probabilities.mean(dim=1)


def _partial_cross(
    attn: nn.Module,
    cache: Cache,
    x: Tensor,
    text: Tensor,
    bias: Tensor | None,
    moment: Moment,
    settings: Settings,
    layer: int,
) -> None:
    """Queries from the fresh tokens, all of the text; fresh rows replace the cached output and the cached map. The
    selection itself still saw the old map."""
    for group in settings.groups(x.shape[0]):
        tokens = _select("cross", cache, group, moment, settings, layer)
        if not tokens:
            continue
        index = torch.tensor(tokens)
        for row in group:
            row_bias = None if bias is None else bias[row : row + 1]
            out, row_map = _cross_attention(attn, x[row : row + 1, index], text[row : row + 1], row_bias)
            cache["cross"][row, index] = out[0]
            cache["map"][row, index] = row_map[0]


def _partial_ff(ff: nn.Module, cache: Cache, x: Tensor, moment: Moment, settings: Settings, layer: int) -> None:
    """Scored after this step's cross-attention refreshed the map."""
    for group in settings.groups(x.shape[0]):
        tokens = _select("ff", cache, group, moment, settings, layer)
        for row in group:
            cache["ff"] = common.recompute_rows(cache["ff"], x, row, tokens, ff)


def _select(module: str, cache: Cache, group: list[int], moment: Moment, settings: Settings, layer: int) -> list[int]:
    """The tokens that this group of rows recomputes in this module; moves the counts on.

    s2: the rows of a group attend to different text, so P = half of each side by side, on disjoint supports.
    """
    shared_map = torch.cat([cache["map"][row] / len(group) for row in group], dim=-1)
    stale = cache["stale"][module]
    scores = common.final_scores(1 + common.entropy_per_query(shared_map), stale[group[0]], settings.N)
    scores = common.raise_best_of_patches(scores, settings.grid, *settings.bonus)
    ratio = schedules.ratio_pixart(settings.R0, moment.step, settings.S, layer, settings.L, module)
    tokens, margin = common.take_best(scores, ratio)
    for row in group:
        stale[row] = common.age(stale[row], tokens)
        common.note(moment, layer, module, row, tokens, margin)
    return tokens


def _text_bias(mask: Tensor | None) -> Tensor | None:
    """0 where the text is kept, -10000 where it is padding; shaped to add to (B, heads, T, text) logits."""
    return None if mask is None else ((1 - mask.float()) * -10000.0)[:, None, None, :]


def _grid(transformer: nn.Module, call: dict[str, Any]) -> tuple[int, int]:
    size = transformer.config.patch_size
    height, width = call["hidden_states"].shape[-2:]
    return height // size, width // size
