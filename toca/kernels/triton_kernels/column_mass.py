"""Attention that each key receives, tile by tile: no piece of the map leaves the chip.

The first pass keeps the logarithm of each query's sum of exponents; the second, a program for each tile of keys, goes
through the queries with it and adds up. The product of queries and keys is taken twice. Nothing is added atomically:
the order of summation is always the same, and a row depends on that row alone.
"""

import math

import torch
import triton
import triton.language as tl

ROWS, COLUMNS = 64, 64


@triton.jit
def _tile(tensor, first, tokens, width, token_stride, width_stride, TOKENS: tl.constexpr, WIDTH: tl.constexpr):
    """Some tokens of a head, (TOKENS, WIDTH); zero beyond the last token and the last channel."""
    at, channel = first + tl.arange(0, TOKENS), tl.arange(0, WIDTH)
    here = (at[:, None] < tokens) & (channel[None, :] < width)
    offsets = at[:, None].to(tl.int64) * token_stride + channel[None, :] * width_stride
    return tl.load(tensor + offsets, mask=here, other=0.0)


@triton.jit
def _log_sums(
    sums, query, key, heads, queries, keys, width, scale, qb, qh, qt, qd, kb, kh, kt, kd,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    first, head = tl.program_id(0) * ROWS, tl.program_id(1).to(tl.int64)
    query += head // heads * qb + head % heads * qh
    key += head // heads * kb + head % heads * kh
    rows = _tile(query, first, queries, width, qt, qd, ROWS, WIDTH)
    peak = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    for start in range(0, keys, COLUMNS):
        columns = _tile(key, start, keys, width, kt, kd, COLUMNS, WIDTH)
        logits = tl.dot(rows, tl.trans(columns), input_precision="ieee") * scale
        logits = tl.where((start + tl.arange(0, COLUMNS))[None, :] < keys, logits, float("-inf"))
        higher = tl.maximum(peak, tl.max(logits, 1))
        total = total * tl.exp(peak - higher) + tl.sum(tl.exp(logits - higher[:, None]), 1)
        peak = higher
    at = first + tl.arange(0, ROWS)
    tl.store(sums + head * queries + at, peak + tl.log(total), mask=at < queries)


@triton.jit
def _mass(
    mass, sums, query, key, heads, queries, keys, width, scale, qb, qh, qt, qd, kb, kh, kt, kd,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    first, head = tl.program_id(0) * COLUMNS, tl.program_id(1).to(tl.int64)
    query += head // heads * qb + head % heads * qh
    key += head // heads * kb + head % heads * kh
    columns = tl.trans(_tile(key, first, keys, width, kt, kd, COLUMNS, WIDTH))
    received = tl.zeros([COLUMNS], tl.float32)
    for start in range(0, queries, ROWS):
        rows = _tile(query, start, queries, width, qt, qd, ROWS, WIDTH)
        logits = tl.dot(rows, columns, input_precision="ieee") * scale
        at = start + tl.arange(0, ROWS)
        log_sum = tl.load(sums + head * queries + at, mask=at < queries, other=float("inf"))
        # Beyond the last query the exponent is of minus infinity.
        received += tl.sum(tl.exp(logits - log_sum[:, None]), 0)
    at = first + tl.arange(0, COLUMNS)
    tl.store(mass + head * keys + at, received, mask=at < keys)


def column_mass(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """`toca.kernels.scores.column_mass` without a mask. Logits are float32, where the plain form rounds them to the
    model's dtype.

    Args:
        query (`torch.Tensor`): (B, heads, queries, head_dim), in any memory layout.
        key (`torch.Tensor`): (B, heads, keys, head_dim), of the same dtype.

    Returns:
        `torch.Tensor`: (B, keys), float32.
    """
    (batch, heads, queries, width), keys = query.shape, key.shape[2]
    sums = query.new_empty(batch * heads, queries, dtype=torch.float32)
    mass = query.new_empty(batch, heads, keys, dtype=torch.float32)
    sizes = (heads, queries, keys, width, 1 / math.sqrt(width), *query.stride(), *key.stride())
    tile = {"ROWS": ROWS, "COLUMNS": COLUMNS, "WIDTH": max(16, triton.next_power_of_2(width))}
    with torch.cuda.device_of(query):
        _log_sums[(triton.cdiv(queries, ROWS), batch * heads)](sums, query, key, *sizes, **tile)
        _mass[(triton.cdiv(keys, COLUMNS), batch * heads)](mass, sums, query, key, *sizes, **tile)
    return mass.mean(dim=1)
