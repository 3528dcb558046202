"""RAS on DiT, PixArt and FLUX, image by image and token by token. Notes, section 4.

Every row of the batch is run on its own: only its active tokens enter block 0, the keys and values of all tokens lie
in one matrix a layer, and the attention map is written out. What the model returns is kept as one vector a token.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import common
from .dit import unpatchify
from .flux import _condition, _fuse, _queries_keys_values, _rotate
from .pixart import _text_bias

Keys = dict[int, tuple[Tensor, Tensor]]
Call = dict[str, Any]
Stack = tuple[Tensor, Tensor]
"""What all tokens of the image enter the blocks as, and what the active ones leave them as, each (1, n, C)."""


@torch.no_grad()
def run_ras(
    family: str,
    transformer: nn.Module,
    inputs: list[Call],
    *,
    dense: list[bool],
    ratio: float,
    kappa: float,
    batched_cfg: bool = False,
    trace: list[tuple[int, int, list[int], float]] | None = None,
) -> list[Tensor]:
    """The output of every call. `trace` gets (step, image, active tokens, margin of the choice)."""
    stack, head = STACKS[family], HEADS[family]
    batch, tokens, side, predicted, numbers = _sizes(family, transformer, inputs[0])
    images = [[row, row + batch // 2] for row in range(batch // 2)] if batched_cfg else [[row] for row in range(batch)]
    keys: list[Keys] = [{} for _ in range(batch)]
    drops = [[0] * tokens for _ in images]
    last = torch.zeros(batch, tokens, numbers)
    outputs = []
    for step, call in enumerate(inputs):
        for image, rows in enumerate(images):
            active = list(range(tokens))
            if not dense[step]:
                mean = sum(last[row] for row in rows) / len(rows)
                scores = [_score(family, mean[t], side, predicted) * math.exp(kappa * drops[image][t]) for t in active]
                active, margin = common.take_best(scores, ratio)
                drops[image] = [n + (t not in active) for t, n in enumerate(drops[image])]
                if trace is not None:
                    trace.append((step, image, sorted(active), margin))
            for row in rows:
                own = _only(call, row, batch)
                last[row, active] = head(transformer, own, stack(transformer, own, active, keys[row])[1])
        outputs.append(_whole(family, last, transformer, call))
    return outputs


def _sizes(family: str, transformer: nn.Module, call: Call) -> tuple[int, int, int, int, int]:
    """Rows, tokens, the side of a token in latent pixels, its predicted channels, and the numbers it returns."""
    states, config = call["hidden_states"], transformer.config
    if family == "flux":
        width = config.in_channels
        return states.shape[0], states.shape[1], 2, width // 4, width
    height, columns = _grid(transformer, call)
    numbers = config.patch_size**2 * config.out_channels
    return states.shape[0], height * columns, config.patch_size, config.in_channels, numbers


def _grid(transformer: nn.Module, call: Call) -> tuple[int, int]:
    height, width = call["hidden_states"].shape[-2:]
    return height // transformer.config.patch_size, width // transformer.config.patch_size


def _score(family: str, vector: Tensor, side: int, predicted: int) -> float:
    """Mean over a token's pixels of the standard deviation over the channels of the predicted velocity."""
    pixels = side * side
    if family == "flux":
        values = [vector[pixel::pixels] for pixel in range(pixels)]
    else:
        channels = len(vector) // pixels
        values = [vector[pixel * channels : pixel * channels + predicted] for pixel in range(pixels)]
    return sum(value.std().item() for value in values) / pixels


def _whole(family: str, last: Tensor, transformer: nn.Module, call: Call) -> Tensor:
    if family == "flux":
        return last.clone()
    return unpatchify(last, _grid(transformer, call), transformer.config.patch_size)


def _only(call: Call, row: int, batch: int) -> Call:
    """The arguments of one row; the positions of FLUX are everybody's."""
    shared = ("img_ids", "txt_ids")
    return {
        name: value[row : row + 1] if isinstance(value, Tensor) and name not in shared else value
        for name, value in call.items()
    }


def _remember(keys: Keys, layer: int, places: list[int], total: int, key: Tensor, value: Tensor) -> None:
    """Write the keys and values (1, heads, n, d) of the tokens at `places` into those of all tokens."""
    if layer not in keys:
        shape = (1, key.shape[1], total, key.shape[3])
        keys[layer] = torch.full(shape, math.nan), torch.full(shape, math.nan)
    for held, new in zip(keys[layer], (key, value), strict=True):
        for i, place in enumerate(places):
            held[:, :, place] = new[:, :, i]


def _self_attention(attn: nn.Module, x: Tensor, keys: Keys, layer: int, active: list[int], total: int) -> Tensor:
    query, key, value = (common.split_heads(linear(x), attn.heads) for linear in (attn.to_q, attn.to_k, attn.to_v))
    _remember(keys, layer, active, total, key, value)
    return attn.to_out[0](common.join_heads(common.attention_map(query, keys[layer][0]) @ keys[layer][1]))


def _dit(transformer: nn.Module, call: Call, active: list[int], keys: Keys) -> Stack:
    timestep, labels = call["timestep"], call["class_labels"]
    everything = transformer.pos_embed(call["hidden_states"])
    x = everything[:, active]
    for layer, block in enumerate(transformer.transformer_blocks):
        normed, gate_attn, shift, scale, gate_ff = block.norm1(x, timestep, labels, hidden_dtype=x.dtype)
        attended = _self_attention(block.attn1, normed, keys, layer, active, everything.shape[1])
        x = x + gate_attn[:, None] * attended
        x = x + gate_ff[:, None] * block.ff(block.norm3(x) * (1 + scale[:, None]) + shift[:, None])
    return everything, x


def _dit_head(transformer: nn.Module, call: Call, x: Tensor) -> Tensor:
    norm = transformer.transformer_blocks[0].norm1
    condition = norm.emb(call["timestep"], call["class_labels"], hidden_dtype=x.dtype)
    shift, scale = transformer.proj_out_1(F.silu(condition)).chunk(2, dim=1)
    return transformer.proj_out_2(transformer.norm_out(x) * (1 + scale[:, None]) + shift[:, None])[0]


def _pixart(transformer: nn.Module, call: Call, active: list[int], keys: Keys) -> Stack:
    everything = transformer.pos_embed(call["hidden_states"])
    x = everything[:, active]
    modulation, _ = _pixart_modulation(transformer, call, x)
    text = transformer.caption_projection(call["encoder_hidden_states"])
    bias = _text_bias(call.get("encoder_attention_mask"))
    for layer, block in enumerate(transformer.transformer_blocks):
        table = block.scale_shift_table[None] + modulation.reshape(1, 6, -1)
        shift_attn, scale_attn, gate_attn, shift_ff, scale_ff, gate_ff = table.chunk(6, dim=1)
        normed = block.norm1(x) * (1 + scale_attn) + shift_attn
        x = x + gate_attn * _self_attention(block.attn1, normed, keys, layer, active, everything.shape[1])
        x = x + _cross_attention(block.attn2, x, text, bias)
        x = x + gate_ff * block.ff(block.norm2(x) * (1 + scale_ff) + shift_ff)
    return everything, x


def _pixart_modulation(transformer: nn.Module, call: Call, x: Tensor) -> tuple[Tensor, Tensor]:
    return transformer.adaln_single(
        call["timestep"], call.get("added_cond_kwargs"), batch_size=1, hidden_dtype=x.dtype
    )


def _pixart_head(transformer: nn.Module, call: Call, x: Tensor) -> Tensor:
    _, embedded = _pixart_modulation(transformer, call, x)
    shift, scale = (transformer.scale_shift_table[None] + embedded[:, None]).chunk(2, dim=1)
    return transformer.proj_out(transformer.norm_out(x) * (1 + scale) + shift)[0]


def _cross_attention(attn: nn.Module, x: Tensor, text: Tensor, bias: Tensor | None) -> Tensor:
    query = common.split_heads(attn.to_q(x), attn.heads)
    key, value = (common.split_heads(linear(text), attn.heads) for linear in (attn.to_k, attn.to_v))
    return attn.to_out[0](common.join_heads(common.attention_map(query, key, bias) @ value))


def _flux(transformer: nn.Module, call: Call, active: list[int], keys: Keys) -> Stack:
    everything = transformer.x_embedder(call["hidden_states"])
    text = transformer.context_embedder(call["encoder_hidden_states"])
    condition = _condition(transformer, call)
    length, total = text.shape[1], text.shape[1] + everything.shape[1]
    places = [*range(length), *(length + token for token in active)]
    angles = transformer.pos_embed(torch.cat([call["txt_ids"], call["img_ids"]]))
    rotary = tuple(part[places] for part in angles)
    image = everything[:, active]
    for layer, block in enumerate(transformer.transformer_blocks):
        normed_image, gate, shift, scale, gate_ff = block.norm1(image, emb=condition)
        normed_text, c_gate, c_shift, c_scale, c_gate_ff = block.norm1_context(text, emb=condition)
        attn = block.attn
        joint = [
            torch.cat(parts, dim=2)
            for parts in zip(
                _text_projections(attn, normed_text), _queries_keys_values(attn, normed_image), strict=True
            )
        ]
        out = _joint_attention(joint, rotary, keys, layer, places, total)
        image = image + gate[:, None] * attn.to_out[0](out[:, length:])
        text = text + c_gate[:, None] * attn.to_add_out(out[:, :length])
        image = image + gate_ff[:, None] * block.ff(block.norm2(image) * (1 + scale[:, None]) + shift[:, None])
        normed_text = block.norm2_context(text) * (1 + c_scale[:, None]) + c_shift[:, None]
        text = text + c_gate_ff[:, None] * block.ff_context(normed_text)
    x = torch.cat([text, image], dim=1)
    for layer, block in enumerate(transformer.single_transformer_blocks, start=len(transformer.transformer_blocks)):
        normed, gate = block.norm(x, emb=condition)
        out = _joint_attention(_queries_keys_values(block.attn, normed), rotary, keys, layer, places, total)
        x = x + gate[:, None] * _fuse(block, out, normed)
    return everything, x[:, length:]


def _flux_head(transformer: nn.Module, call: Call, x: Tensor) -> Tensor:
    return transformer.proj_out(transformer.norm_out(x, _condition(transformer, call)))[0]


def _text_projections(attn: nn.Module, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    linears = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
    query, key, value = (common.split_heads(linear(text), attn.heads) for linear in linears)
    return attn.norm_added_q(query), attn.norm_added_k(key), value


def _joint_attention(
    joint: Any, rotary: tuple[Tensor, ...], keys: Keys, layer: int, places: list[int], total: int
) -> Tensor:
    query, key, value = joint
    _remember(keys, layer, places, total, _rotate(key, rotary), value)
    return common.join_heads(common.attention_map(_rotate(query, rotary), keys[layer][0]) @ keys[layer][1])


STACKS: dict[str, Callable[[nn.Module, Call, list[int], Keys], Stack]] = {
    "dit": _dit,
    "pixart": _pixart,
    "flux": _flux,
}
HEADS: dict[str, Callable[[nn.Module, Call, Tensor], Tensor]] = {
    "dit": _dit_head,
    "pixart": _pixart_head,
    "flux": _flux_head,
}
"""What tokens (1, n, C) that leave the blocks return, (n, numbers of a token)."""
