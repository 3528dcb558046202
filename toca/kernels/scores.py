"""What a step's attention says of its tokens, without ever holding a T x T map.

All statistics are float32, whatever the model's dtype, and each row of the batch depends on that row alone.
"""

from __future__ import annotations

import math

import torch

CHUNK_ELEMENTS = {"cpu": 2**21, "cuda": 2**26}
"""Largest piece of the map (rows x heads x queries x keys) that exists at one time. On a CPU larger ones leave the
cache, and their fresh pages cost more than the arithmetic."""

LOG_EPSILON = 1e-7


def _probabilities(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None):
    """Yield (first query, softmax map (B, heads, chunk, keys) in float32) in chunks of queries."""
    batch, heads, queries, width = query.shape
    budget = CHUNK_ELEMENTS.get(query.device.type, 2**24)
    chunk = max(1, min(queries, budget // (batch * heads * key.shape[2])))
    flat_query = query.reshape(-1, queries, width)
    flat_key = key.reshape(-1, key.shape[2], width).transpose(1, 2)
    if mask is None:
        bias, weight = query.new_zeros(1, 1, 1), 0
    else:
        bias, weight = mask.expand(batch, heads, -1, -1).flatten(0, 1).to(query.dtype), 1
    for start in range(0, queries, chunk):
        part = bias if bias.shape[1] == 1 else bias[:, start : start + chunk]
        pieces = flat_query[:, start : start + chunk]
        logits = torch.baddbmm(part, pieces, flat_key, beta=weight, alpha=1 / math.sqrt(width))
        yield logits.unflatten(0, (batch, heads)).softmax(dim=-1, dtype=torch.float32)


def column_mass(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Attention that each key receives, the mean over heads and the sum over queries (ToCa, eq. 5: s1).

    Args:
        query (`torch.Tensor`): (B, heads, queries, head_dim), as it enters the softmax product.
        key (`torch.Tensor`): (B, heads, keys, head_dim).
        mask (`torch.Tensor`, *optional*): Additive, broadcastable to (B, heads, queries, keys).

    Returns:
        `torch.Tensor`: (B, keys), float32; each row sums to the number of queries.
    """
    total = 0
    for probabilities in _probabilities(query, key, mask):
        total = total + probabilities.sum(dim=(1, 2))
    return total / query.shape[1]


def attention_entropy(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Entropy of each query's head-mean attention over the keys (ToCa, eq. 6: s2), in nats.

    Args:
        query (`torch.Tensor`): (B, heads, queries, head_dim).
        key (`torch.Tensor`): (B, heads, keys, head_dim).
        mask (`torch.Tensor`, *optional*): Additive; masked keys count with probability 0.

    Returns:
        `torch.Tensor`: (B, queries), float32.
    """
    parts = []
    for probabilities in _probabilities(query, key, mask):
        weights = probabilities.mean(dim=1)
        parts.append(-(weights * (weights + LOG_EPSILON).log()).sum(dim=-1))
    return torch.cat(parts, dim=1)


def value_scarcity(value: torch.Tensor) -> torch.Tensor:
    """Sum over heads of (1 - ||v||): large where the value is small (DuCa, section 3.3), without any attention map.

    Args:
        value (`torch.Tensor`): (B, heads, tokens, head_dim).

    Returns:
        `torch.Tensor`: (B, tokens), float32.
    """
    return (1 - value.float().norm(dim=-1)).sum(dim=1)
