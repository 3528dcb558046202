"""Partial self-attention on PixArtTransformer2DModel: which tokens is told, what becomes of them is written out.

Every module keeps what it last returned for each token, and self-attention the keys and values of each token beside.
A chosen token attends to all: to other chosen ones anew, to the rest as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from . import common
from .dit import unpatchify
from .pixart import _text_bias

Chosen = dict[tuple[int, str], list[list[int]]]
Compute = Callable[[int, list[int]], Tensor]
"""`(row, tokens) -> (tokens, C)`: what a module makes of some tokens of a row."""


class Kept:
    """What is remembered of the modules.

    Args:
        forecasts (`bool`): Whether what is not chosen goes on on the line through the last two full steps.
    """

    def __init__(self, forecasts: bool) -> None:
        self.forecasts = forecasts
        self.full: dict[tuple[int, str], list[tuple[int, Tensor]]] = {}
        self.held: dict[tuple[int, str], Tensor] = {}
        self.keys: dict[int, tuple[Tensor, Tensor]] = {}

    def output(self, place: tuple[int, str], given: Tensor, step: int, chosen: Chosen, compute: Compute) -> Tensor:
        """What the module at a place returns; everything is computed where nothing is chosen."""
        if not chosen:
            everything = list(range(given.shape[1]))
            self.held[place] = torch.stack([compute(row, everything) for row in range(len(given))])
            self.full.setdefault(place, []).append((step, self.held[place].clone()))
            return self.held[place]
        out = self._line(place, step) if self.forecasts else self.held[place]
        for row, tokens in enumerate(chosen.get(place, [])):
            out[row, tokens] = compute(row, tokens)
        return out

    def _line(self, place: tuple[int, str], step: int) -> Tensor:
        last, newest = self.full[place][-1]
        if len(self.full[place]) == 1:
            return newest.clone()
        before, older = self.full[place][-2]
        return newest + (newest - older) * (step - last) / (last - before)


@torch.no_grad()
def run_chosen_pixart(
    transformer: nn.Module, inputs: list[dict[str, Any]], chosen: list[Chosen], *, forecasts: bool
) -> list[Tensor]:
    """The sample of every call; a step with nothing chosen is full."""
    kept = Kept(forecasts)
    return [_forward(transformer, call, kept, step, chosen[step]) for step, call in enumerate(inputs)]


def _forward(transformer: nn.Module, call: dict[str, Any], kept: Kept, step: int, chosen: Chosen) -> Tensor:
    x = transformer.pos_embed(call["hidden_states"])
    modulation, embedded = transformer.adaln_single(
        call["timestep"], call.get("added_cond_kwargs"), batch_size=x.shape[0], hidden_dtype=x.dtype
    )
    text = transformer.caption_projection(call["encoder_hidden_states"])
    bias = _text_bias(call.get("encoder_attention_mask"))
    for layer, block in enumerate(transformer.transformer_blocks):
        table = block.scale_shift_table[None] + modulation.reshape(x.shape[0], 6, -1)
        shift_attn, scale_attn, gate_attn, shift_ff, scale_ff, gate_ff = table.chunk(6, dim=1)
        normed = block.norm1(x) * (1 + scale_attn) + shift_attn
        keys = kept.keys.setdefault(layer, (torch.zeros_like(normed), torch.zeros_like(normed)))
        attended = kept.output((layer, "self_attn"), normed, step, chosen, _to_itself(block.attn1, normed, keys))
        x = x + gate_attn * attended
        x = x + kept.output((layer, "cross_attn"), x, step, chosen, _to_text(block.attn2, x, text, bias))
        normed = block.norm2(x) * (1 + scale_ff) + shift_ff
        x = x + gate_ff * kept.output((layer, "ff"), normed, step, chosen, _fed(block.ff, normed))
    shift, scale = (transformer.scale_shift_table[None] + embedded[:, None]).chunk(2, dim=1)
    x = transformer.proj_out(transformer.norm_out(x) * (1 + scale) + shift)
    size = transformer.config.patch_size
    height, width = (side // size for side in call["hidden_states"].shape[-2:])
    return unpatchify(x, (height, width), size)


def _to_itself(attn: nn.Module, given: Tensor, keys: tuple[Tensor, Tensor]) -> Compute:
    def compute(row: int, tokens: list[int]) -> Tensor:
        mine, (key, value) = given[row, tokens], keys
        key[row, tokens], value[row, tokens] = attn.to_k(mine), attn.to_v(mine)
        return _attend(attn, mine, key[row], value[row], None)

    return compute


def _to_text(attn: nn.Module, given: Tensor, text: Tensor, bias: Tensor | None) -> Compute:
    def compute(row: int, tokens: list[int]) -> Tensor:
        own = None if bias is None else bias[row : row + 1]
        return _attend(attn, given[row, tokens], attn.to_k(text[row]), attn.to_v(text[row]), own)

    return compute


def _fed(ff: nn.Module, given: Tensor) -> Compute:
    return lambda row, tokens: ff(given[row : row + 1, tokens])[0]


def _attend(attn: nn.Module, tokens: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Attention of tokens (n, C) to the keys and values (keys, C) of one row."""
    heads = [common.split_heads(each[None], attn.heads) for each in (attn.to_q(tokens), key, value)]
    return attn.to_out[0](common.join_heads(common.attention_map(heads[0], heads[1], bias) @ heads[2]))[0]
