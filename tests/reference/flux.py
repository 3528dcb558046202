"""ToCa and FORA on FluxTransformer2DModel, step by step. Notes, sections 1 (ToCa, "FLUX details") and 4 (FORA)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from . import common, schedules
from .common import Moment, Pick

Cache = dict[str, Any]
Rotary = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Settings:
    """The constants of one ToCa run; `None` in their place stands for FORA."""

    N: int
    R0: float


@torch.no_grad()
def run_toca_flux(
    transformer: nn.Module, inputs: list[dict[str, Any]], *, N: int, R0: float, trace: list[Pick] | None = None
) -> list[Tensor]:
    """The sample of every call. Attention is reused whole; feed-forwards (image and text apart) and single blocks
    (image and text in one pool) recompute the best tokens by s1 + s3."""
    full = schedules.full_steps_flux(len(inputs), N)
    return _run(transformer, inputs, full, Settings(N, R0), trace)


@torch.no_grad()
def run_fora(
    transformer: nn.Module, inputs: list[dict[str, Any]], *, N: int, counts_down: bool = True
) -> list[Tensor]:
    """The sample of every call. Between full steps joint attention, both feed-forwards and the single blocks' fused
    outputs are reused, before their gates."""
    return _run(transformer, inputs, schedules.full_steps_fora(len(inputs), N, counts_down), None, None)


def _run(
    transformer: nn.Module,
    inputs: list[dict[str, Any]],
    full: list[bool],
    settings: Settings | None,
    trace: list[Pick] | None,
) -> list[Tensor]:
    dual: list[Cache] = [{} for _ in transformer.transformer_blocks]
    single: list[Cache] = [{} for _ in transformer.single_transformer_blocks]
    return [
        _forward(transformer, call, dual, single, Moment(i, full[i], trace), settings) for i, call in enumerate(inputs)
    ]


def _forward(
    transformer: nn.Module,
    call: dict[str, Any],
    dual: list[Cache],
    single: list[Cache],
    moment: Moment,
    settings: Settings | None,
) -> Tensor:
    image = transformer.x_embedder(call["hidden_states"])
    text = transformer.context_embedder(call["encoder_hidden_states"])
    condition = _condition(transformer, call)
    rotary = transformer.pos_embed(torch.cat([call["txt_ids"], call["img_ids"]]))
    for layer, block in enumerate(transformer.transformer_blocks):
        text, image = _dual_block(block, dual[layer], text, image, condition, rotary, moment, settings, layer)
    tokens, length = torch.cat([text, image], dim=1), text.shape[1]
    for layer, block in enumerate(transformer.single_transformer_blocks):
        tokens = _single_block(block, single[layer], tokens, condition, rotary, moment, settings, layer)
    return transformer.proj_out(transformer.norm_out(tokens[:, length:], condition))


def _condition(transformer: nn.Module, call: dict[str, Any]) -> Tensor:
    timestep, pooled, guidance = call["timestep"] * 1000, call["pooled_projections"], call.get("guidance")
    if guidance is None:
        return transformer.time_text_embed(timestep, pooled)
    return transformer.time_text_embed(timestep, guidance * 1000, pooled)


def _dual_block(
    block: nn.Module,
    cache: Cache,
    text: Tensor,
    image: Tensor,
    condition: Tensor,
    rotary: Rotary,
    moment: Moment,
    settings: Settings | None,
    layer: int,
) -> tuple[Tensor, Tensor]:
    normed_image, gate_attn, shift, scale, gate_ff = block.norm1(image, emb=condition)
    normed_text, c_gate_attn, c_shift, c_scale, c_gate_ff = block.norm1_context(text, emb=condition)
    if moment.full:
        _joint_attention(block.attn, cache, normed_text, normed_image, rotary)
    image = image + gate_attn[:, None] * cache["attn_image"]
    text = text + c_gate_attn[:, None] * cache["attn_text"]
    normed_image = block.norm2(image) * (1 + scale[:, None]) + shift[:, None]
    normed_text = block.norm2_context(text) * (1 + c_scale[:, None]) + c_shift[:, None]
    for ff, x, stream in ((block.ff, normed_image, "image"), (block.ff_context, normed_text, "text")):
        _stream_ff(ff, cache, x, stream, moment, settings, layer)
    return text + c_gate_ff[:, None] * cache["ff_text"], image + gate_ff[:, None] * cache["ff_image"]


def _joint_attention(attn: nn.Module, cache: Cache, text: Tensor, image: Tensor, rotary: Rotary) -> None:
    """Text first, then image. Cached after the output projections; the column statistic counts every query."""
    length = text.shape[1]
    query_text = attn.norm_added_q(common.split_heads(attn.add_q_proj(text), attn.heads))
    key_text = attn.norm_added_k(common.split_heads(attn.add_k_proj(text), attn.heads))
    value_text = common.split_heads(attn.add_v_proj(text), attn.heads)
    query, key, value = _queries_keys_values(attn, image)
    query, key = torch.cat([query_text, query], dim=2), torch.cat([key_text, key], dim=2)
    out, received = _attend(query, key, torch.cat([value_text, value], dim=2), rotary)
    cache["attn_text"], cache["attn_image"] = attn.to_add_out(out[:, :length]), attn.to_out[0](out[:, length:])
    cache["received_text"], cache["received_image"] = received[:, :length], received[:, length:]


def _queries_keys_values(attn: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    query = attn.norm_q(common.split_heads(attn.to_q(x), attn.heads))
    key = attn.norm_k(common.split_heads(attn.to_k(x), attn.heads))
    return query, key, common.split_heads(attn.to_v(x), attn.heads)


def _attend(query: Tensor, key: Tensor, value: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor]:
    """Joined heads before any output projection, and the attention each token receives."""
    probabilities = common.attention_map(_rotate(query, rotary), _rotate(key, rotary))
    return common.join_heads(probabilities.to(value.dtype) @ value), common.attention_received(probabilities)


def _rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """RoPE: each pair of neighbouring channels of (B, heads, T, D) is turned by its token's angle."""
    cosine, sine = rotary
    turned = torch.stack([-x[..., 1::2], x[..., 0::2]], dim=-1).reshape(x.shape)
    return x * cosine + turned * sine


def _stream_ff(
    ff: nn.Module,
    cache: Cache,
    x: Tensor,
    stream: str,
    moment: Moment,
    settings: Settings | None,
    layer: int,
) -> None:
    if moment.full:
        cache[f"ff_{stream}"] = ff(x)
        cache[f"stale_{stream}"] = [[0] * x.shape[1] for _ in range(x.shape[0])]
    elif settings is not None:
        ratio = schedules.ratio_flux(settings.R0, layer, "dual")
        for row in range(x.shape[0]):
            tokens = _select(cache, stream, row, ratio, moment, settings, layer)
            cache[f"ff_{stream}"] = common.recompute_rows(cache[f"ff_{stream}"], x, row, tokens, ff)


def _select(
    cache: Cache, pool: str, row: int, ratio: float, moment: Moment, settings: Settings, layer: int
) -> list[int]:
    """The tokens of one pool ("image", "text" or "joint") that one row recomputes; moves the counts on."""
    stale = cache[f"stale_{pool}"]
    scores = common.final_scores(cache[f"received_{pool}"][row], stale[row], settings.N)
    tokens, margin = common.take_best(scores, ratio)
    stale[row] = common.age(stale[row], tokens)
    common.note(moment, layer, pool, row, tokens, margin)
    return tokens


def _single_block(
    block: nn.Module,
    cache: Cache,
    x: Tensor,
    condition: Tensor,
    rotary: Rotary,
    moment: Moment,
    settings: Settings | None,
    layer: int,
) -> Tensor:
    """Attention is cached before the fused projection, the fused output before its gate. On fresh tokens the MLP and
    the projection run anew, next to their cached attention."""
    normed, gate = block.norm(x, emb=condition)
    if moment.full:
        cache["attn"], cache["received_joint"] = _attend(*_queries_keys_values(block.attn, normed), rotary)
        cache["fused"] = _fuse(block, cache["attn"], normed)
        cache["stale_joint"] = [[0] * x.shape[1] for _ in range(x.shape[0])]
    elif settings is not None:
        ratio = schedules.ratio_flux(settings.R0, layer, "single")
        for row in range(x.shape[0]):
            tokens = _select(cache, "joint", row, ratio, moment, settings, layer)
            if tokens:
                index = torch.tensor(tokens)
                cache["fused"][row, index] = _fuse(block, cache["attn"][row, index], normed[row, index])
    return x + gate[:, None] * cache["fused"]


def _fuse(block: nn.Module, attention: Tensor, normed: Tensor) -> Tensor:
    return block.proj_out(torch.cat([attention, block.act_mlp(block.proj_mlp(normed))], dim=-1))
