"""ClusCa on DiT, PixArt and FLUX, cluster by cluster. Notes, section 4, and section 3 for the forecast.

Which token of a cluster is computed is a matter of chance, so that is told from outside; the clusters, the forecasts,
and what a computed token does to the others of its cluster are worked out here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import common
from .dit import unpatchify
from .flux import _condition, _fuse, _queries_keys_values, _rotate
from .pixart import _text_bias
from .ras import _cross_attention, _grid, _text_projections

Site = tuple[int, str]
Picks = dict[tuple[int, int, str], list[list[int]]]
"""(step, layer, module) -> for each row the tokens that are computed."""


def naive_k_means(points: Tensor, clusters: int, iterations: int = 10) -> list[int]:
    """Lloyd's algorithm on (T, C) points: starts from evenly spaced points; an empty cluster keeps its centre."""
    rows = points.double()
    centres = [rows[k * len(rows) // clusters] for k in range(clusters)]
    for _ in range(iterations):
        labels = [_nearest(row, centres) for row in rows]
        for k in range(clusters):
            members = [row for row, label in zip(rows, labels, strict=True) if label == k]
            centres[k] = sum(members) / len(members) if members else centres[k]
    return [_nearest(row, centres) for row in rows]


def _nearest(point: Tensor, centres: list[Tensor]) -> int:
    distances = [(point - centre).norm().item() for centre in centres]
    return distances.index(min(distances))


@dataclass
class Series:
    """f_0 to f_O of one tensor, and the steps at which it was computed."""

    order: int
    terms: list[Tensor] = field(default_factory=list)
    computed: int = 0

    def take(self, value: Tensor, step: int) -> None:
        terms = [value]
        for old in self.terms[: self.order]:
            terms.append((terms[-1] - old) / (step - self.computed))
        self.terms, self.computed = terms, step

    def forecast(self, step: int) -> Tensor:
        x = step - self.computed
        return sum(term * x**i / math.factorial(i) for i, term in enumerate(self.terms))


@dataclass
class Run:
    """The settings and the memory of one generation."""

    order: int
    clusters: int
    gamma: float
    picks: Picks
    step: int = 0
    full: bool = True
    labels: list[list[int]] = field(default_factory=list)
    series: dict[Site, Series] = field(default_factory=dict)

    def whole(self, layer: int, module: str, compute: Callable[[], Tensor]) -> Tensor:
        """A site that computes in full steps and is forecast in all others."""
        series = self.series.setdefault((layer, module), Series(self.order))
        if self.full:
            series.take(compute(), self.step)
        return series.forecast(self.step).clone()

    def tokens(self, layer: int, module: str, compute: Callable[[int | None, Any], Tensor], text: int = 0) -> Tensor:
        """A site that computes one token of each cluster in the others; `compute(row, token)` gives its (C,)."""
        filled = self.whole(layer, module, lambda: compute(None, None))
        if self.full:
            return filled
        for row, tokens in enumerate(self.picks[self.step, layer, module]):
            for token in tokens:
                fresh = compute(row, text + token)
                for other, label in enumerate(self.labels[row]):
                    if label == self.labels[row][token]:
                        filled[row, text + other] += self.gamma * (fresh - filled[row, text + other])
                filled[row, text + token] = fresh
        if self.order == 0:
            # Nothing is forecast: what has been computed is reused in the steps to come.
            self.series[layer, module].terms = [filled.clone()]
        return filled


@torch.no_grad()
def run_clusca(
    family: str,
    transformer: nn.Module,
    inputs: list[dict[str, Any]],
    *,
    full: list[bool],
    order: int,
    clusters: int,
    gamma: float,
    picks: Picks,
    trace: list[list[list[int]]] | None = None,
) -> list[Tensor]:
    """The sample of every call; `trace` gets each step's clusters."""
    run, outputs = Run(order, clusters, gamma, picks), []
    for run.step, call in enumerate(inputs):
        run.full = full[run.step]
        features, output = FORWARDS[family](transformer, call, run)
        if run.full:
            run.labels = [naive_k_means(row, clusters) for row in features]
        outputs.append(output)
        if trace is not None:
            trace.append(run.labels)
    return outputs


def _token_wise(module: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[int | None, Any], Tensor]:
    return lambda row, token: module(x) if row is None else module(x[row, token])


def _self_attention(attn: nn.Module, x: Tensor) -> Tensor:
    query, key, value = (common.split_heads(linear(x), attn.heads) for linear in (attn.to_q, attn.to_k, attn.to_v))
    return attn.to_out[0](common.join_heads(common.attention_map(query, key) @ value))


def _dit(transformer: nn.Module, call: dict[str, Any], run: Run) -> tuple[Tensor, Tensor]:
    """What leaves the last block, and the output."""
    timestep, labels = call["timestep"], call["class_labels"]
    x = transformer.pos_embed(call["hidden_states"])
    for layer, block in enumerate(transformer.transformer_blocks):
        normed, gate_attn, shift, scale, gate_ff = block.norm1(x, timestep, labels, hidden_dtype=x.dtype)
        x = x + gate_attn[:, None] * run.whole(layer, "attn", lambda b=block, n=normed: _self_attention(b.attn1, n))
        normed = block.norm3(x) * (1 + scale[:, None]) + shift[:, None]
        x = x + gate_ff[:, None] * run.tokens(layer, "ff", _token_wise(block.ff, normed))
    condition = transformer.transformer_blocks[0].norm1.emb(timestep, labels, hidden_dtype=x.dtype)
    shift, scale = transformer.proj_out_1(F.silu(condition)).chunk(2, dim=1)
    out = transformer.proj_out_2(transformer.norm_out(x) * (1 + scale[:, None]) + shift[:, None])
    return x, unpatchify(out, _grid(transformer, call), transformer.config.patch_size)


def _pixart(transformer: nn.Module, call: dict[str, Any], run: Run) -> tuple[Tensor, Tensor]:
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
        x = x + gate_attn * run.whole(layer, "attn", lambda b=block, n=normed: _self_attention(b.attn1, n))
        x = x + run.whole(layer, "cross", lambda b=block, x=x: _cross_attention(b.attn2, x, text, bias))
        x = x + gate_ff * run.tokens(layer, "ff", _token_wise(block.ff, block.norm2(x) * (1 + scale_ff) + shift_ff))
    shift, scale = (transformer.scale_shift_table[None] + embedded[:, None]).chunk(2, dim=1)
    out = transformer.proj_out(transformer.norm_out(x) * (1 + scale) + shift)
    return x, unpatchify(out, _grid(transformer, call), transformer.config.patch_size)


def _flux(transformer: nn.Module, call: dict[str, Any], run: Run) -> tuple[Tensor, Tensor]:
    image = transformer.x_embedder(call["hidden_states"])
    text = transformer.context_embedder(call["encoder_hidden_states"])
    condition, length = _condition(transformer, call), text.shape[1]
    rotary = transformer.pos_embed(torch.cat([call["txt_ids"], call["img_ids"]]))
    for layer, block in enumerate(transformer.transformer_blocks):
        normed_image, gate, shift, scale, gate_ff = block.norm1(image, emb=condition)
        normed_text, c_gate, c_shift, c_scale, c_gate_ff = block.norm1_context(text, emb=condition)

        def joint(attn: nn.Module = block.attn, parts: tuple = (normed_text, normed_image)) -> Tensor:
            streams = zip(_text_projections(attn, parts[0]), _queries_keys_values(attn, parts[1]), strict=True)
            out = _attend([torch.cat(stream, dim=2) for stream in streams], rotary)
            return torch.cat([attn.to_add_out(out[:, :length]), attn.to_out[0](out[:, length:])], dim=1)

        attended = run.whole(layer, "attn", joint)
        image = image + gate[:, None] * attended[:, length:]
        text = text + c_gate[:, None] * attended[:, :length]
        normed_image = block.norm2(image) * (1 + scale[:, None]) + shift[:, None]
        normed_text = block.norm2_context(text) * (1 + c_scale[:, None]) + c_shift[:, None]
        image = image + gate_ff[:, None] * run.tokens(layer, "ff", _token_wise(block.ff, normed_image))
        text = text + c_gate_ff[:, None] * run.whole(
            layer, "ff_context", lambda b=block, n=normed_text: b.ff_context(n)
        )
    x = torch.cat([text, image], dim=1)
    for layer, block in enumerate(transformer.single_transformer_blocks, start=len(transformer.transformer_blocks)):
        normed, gate = block.norm(x, emb=condition)
        attended = run.whole(layer, "attn", lambda b=block, n=normed: _attend(_queries_keys_values(b.attn, n), rotary))

        def fused(row: int | None, token: Any, block: nn.Module = block, parts: tuple = (attended, normed)) -> Tensor:
            attention, stream = parts if row is None else (part[row, token] for part in parts)
            return _fuse(block, attention, stream)

        x = x + gate[:, None] * run.tokens(layer, "block", fused, text=length)
    image = x[:, length:]
    return image, transformer.proj_out(transformer.norm_out(image, condition))


def _attend(joint: Any, rotary: tuple[Tensor, Tensor]) -> Tensor:
    query, key, value = joint
    probabilities = common.attention_map(_rotate(query, rotary), _rotate(key, rotary))
    return common.join_heads(probabilities @ value)


FORWARDS: dict[str, Callable[[nn.Module, dict[str, Any], Run], tuple[Tensor, Tensor]]] = {
    "dit": _dit,
    "pixart": _pixart,
    "flux": _flux,
}
