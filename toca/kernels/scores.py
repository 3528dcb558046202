"""What a step's attention says of its tokens, without ever holding a T x T map.

All statistics are float32, whatever the model's dtype, and each row of the batch depends on that row alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

from . import choice

CHUNK_ELEMENTS = {"cpu": 2**20, "cuda": 2**26}
"""Largest piece of the map (samples x heads x queries x keys) that exists at one time. On a CPU larger ones leave the
cache, and their fresh pages cost more than the arithmetic."""

LOG_EPSILON = 1e-7


def _softmax_map(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """The softmax map (B, heads, queries, keys) in float32; zero for a query that may attend to nothing."""
    batch, heads, _, width = query.shape
    logits = torch.baddbmm(
        query.new_zeros(1, 1, 1) if mask is None else mask.expand(batch, heads, -1, -1).flatten(0, 1).to(query.dtype),
        query.flatten(0, 1),
        key.flatten(0, 1).transpose(1, 2),
        beta=0 if mask is None else 1,
        alpha=1 / math.sqrt(width),
    )
    probabilities = logits.view(batch, heads, query.shape[2], key.shape[2]).softmax(dim=-1, dtype=torch.float32)
    if mask is None or mask.shape[2] == 1:
        return probabilities
    return probabilities.masked_fill(mask.isneginf().all(dim=-1, keepdim=True), 0)


def _in_pieces(
    query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, reduce: Callable[[torch.Tensor], torch.Tensor]
) -> Iterator[list[torch.Tensor]]:
    """For each group of samples yield `reduce(map)` of its chunks of queries.

    How the queries of a sample are cut does not depend on the batch, so neither does the order of summation.
    """
    batch, heads, queries, _ = query.shape
    budget = CHUNK_ELEMENTS.get(query.device.type, 2**24)
    chunk = max(1, min(queries, budget // (heads * key.shape[2])))
    group = max(1, budget // (heads * key.shape[2] * chunk))
    for first in range(0, batch, group):
        part = slice(first, first + group)
        part_mask = mask if mask is None or mask.shape[0] == 1 else mask[part]
        reduced = []
        for start in range(0, queries, chunk):
            rows = slice(start, start + chunk)
            row_mask = part_mask if part_mask is None or part_mask.shape[2] == 1 else part_mask[:, :, rows]
            reduced.append(reduce(_softmax_map(query[part, :, rows], key[part], row_mask)))
        yield reduced


def column_mass(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Attention that each key receives, the mean over heads and the sum over queries (ToCa, eq. 5: s1).

    Args:
        query (`torch.Tensor`): (B, heads, queries, head_dim), as it enters the softmax product.
        key (`torch.Tensor`): (B, heads, keys, head_dim).
        mask (`torch.Tensor`, *optional*): Additive, broadcastable to (B, heads, queries, keys).

    Returns:
        `torch.Tensor`: (B, keys), float32; each row sums to the number of queries.
    """
    if choice.on and choice.fits_column_mass(query, key, mask):
        return fused_column_mass(query, key)
    groups = _in_pieces(query, key, mask, lambda probabilities: probabilities.sum(dim=(1, 2)))
    return torch.cat([sum(chunks[1:], chunks[0]) for chunks in groups]) / query.shape[1]


@torch.library.custom_op("toca::column_mass", mutates_args=(), schema="(Tensor query, Tensor key) -> Tensor")
def fused_column_mass(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """`column_mass` by the Triton kernel. An operator of its own, so that graphs may hold it."""
    from .triton_kernels.column_mass import column_mass

    return column_mass(query, key)


@fused_column_mass.register_fake
def _(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    return query.new_empty(key.shape[0], key.shape[2], dtype=torch.float32)


@register_flop_formula(torch.ops.toca.column_mass)
def _flops(query: torch.Size, key: torch.Size, **_: Any) -> int:
    """Of the product of queries and keys once, which is what plans reckon and the plain form does."""
    return 2 * math.prod(query) * key[2]


def attention_entropy(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Entropy of each query's head-mean attention over the keys (ToCa, eq. 6: s2), in nats.

    Args:
        query (`torch.Tensor`): (B, heads, queries, head_dim).
        key (`torch.Tensor`): (B, heads, keys, head_dim).
        mask (`torch.Tensor`, *optional*): Additive; masked keys count with probability 0.

    Returns:
        `torch.Tensor`: (B, queries), float32.
    """
    if torch.compiler.is_compiling():
        # Text has few keys, and a loop over queries would compile their number in.
        return _entropy(_softmax_map(query, key, mask))
    return torch.cat([torch.cat(chunks, dim=1) for chunks in _in_pieces(query, key, mask, _entropy)])


def _entropy(probabilities: torch.Tensor) -> torch.Tensor:
    """(B, heads, queries, keys) -> (B, queries)."""
    weights = probabilities.mean(dim=1)
    return -(weights * (weights + LOG_EPSILON).log()).sum(dim=-1)


def value_scarcity(value: torch.Tensor) -> torch.Tensor:
    """Sum over heads of (1 - ||v||): large where the value is small (DuCa, section 3.3), without any attention map.

    Args:
        value (`torch.Tensor`): (B, heads, tokens, head_dim).

    Returns:
        `torch.Tensor`: (B, tokens), float32.
    """
    return (1 - value.float().norm(dim=-1)).sum(dim=1)
