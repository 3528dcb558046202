"""What the three references share: explicit attention, scoring and selection. Notes, section 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

STALENESS = 0.25


@dataclass
class Pick:
    """One selection, for diagnosis. `margin` is the score by which the last token chosen beat the first one left
    out: a very small one means that rounding alone could decide otherwise."""

    step: int
    layer: int
    module: str
    row: int
    tokens: list[int]
    margin: float


@dataclass(frozen=True)
class Moment:
    """Where a run stands: the call's number, whether it is full, and where picks are noted down."""

    step: int
    full: bool
    trace: list[Pick] | None = None


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, C) to (B, heads, T, C / heads)."""
    batch, tokens, width = x.shape
    return x.reshape(batch, tokens, heads, width // heads).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(B, heads, T, D) to (B, T, heads * D)."""
    batch, heads, tokens, width = x.shape
    return x.transpose(1, 2).reshape(batch, tokens, heads * width)


def attention_map(query: Tensor, key: Tensor, bias: Tensor | None = None) -> Tensor:
    """The whole (B, heads, queries, keys) probability map, softmax in float32."""
    logits = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    if bias is not None:
        logits = logits + bias
    return torch.softmax(logits.float(), dim=-1)


def attention_received(probabilities: Tensor) -> Tensor:
    """s1: mean over heads, column sum over queries; (B, keys)."""
    return probabilities.mean(dim=1).sum(dim=1)


def entropy_per_query(row_map: Tensor) -> Tensor:
    """s2's H = -sum P ln(P + 1e-7) over the text of one (T, text) map."""
    return -(row_map * torch.log(row_map + 1e-7)).sum(dim=-1)


def l2_normalize(score: Tensor) -> Tensor:
    """Divide a (T,) score by its norm over the tokens."""
    return score / math.sqrt((score.double() ** 2).sum().item())


def final_scores(score: Tensor, stale: list[int], interval: int) -> list[float]:
    """Normalised importance plus s3, with the counts as they were before this step."""
    return [value + STALENESS * n / interval for value, n in zip(l2_normalize(score).tolist(), stale, strict=True)]


def raise_best_of_patches(scores: list[float], grid: tuple[int, int], size: int, beta: float) -> list[float]:
    """s4: the best token of each size x size patch, times (1 + beta); patches at the border may be smaller."""
    height, width = grid
    raised = list(scores)
    for top in range(0, height, size):
        for left in range(0, width, size):
            rows = range(top, min(top + size, height))
            columns = range(left, min(left + size, width))
            patch = [r * width + c for r in rows for c in columns]
            best = max(patch, key=lambda token: scores[token])
            raised[best] = scores[best] * (1 + beta)
    return raised


def take_best(scores: list[float], ratio: float) -> tuple[list[int], float]:
    """The floor(ratio * T) best tokens, and the margin of that decision."""
    count = math.floor(ratio * len(scores))
    order = sorted(range(len(scores)), key=lambda token: -scores[token])
    chosen, left = order[:count], order[count:]
    margin = scores[chosen[-1]] - scores[left[0]] if chosen and left else math.inf
    return chosen, margin


def age(stale: list[int], chosen: list[int]) -> list[int]:
    """Counts after a ToCa step: 0 for recomputed tokens, one more for the rest."""
    return [0 if token in chosen else n + 1 for token, n in enumerate(stale)]


def recompute_rows(cached: Tensor, fresh_input: Tensor, row: int, tokens: list[int], module: Callable) -> Tensor:
    """A copy of the cached (B, T, C) output with the chosen tokens of one row run through a token-local module."""
    out = cached.clone()
    if tokens:
        index = torch.tensor(tokens)
        out[row, index] = module(fresh_input[row : row + 1, index])[0]
    return out


def note(moment: Moment, layer: int, module: str, row: int, tokens: list[int], margin: float) -> None:
    if moment.trace is not None:
        moment.trace.append(Pick(moment.step, layer, module, row, sorted(tokens), margin))
