"""Weighted sums of cached terms."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def weighted_sum(value: torch.Tensor, higher: Sequence[torch.Tensor], weights: Sequence) -> torch.Tensor:
    """`value + sum of weights[i] * higher[i]`; `value` itself where all weights are 0.

    Args:
        value (`torch.Tensor`): Any shape; not written to.
        higher (`Sequence[torch.Tensor]`): The same shape each.
        weights (`Sequence`): Numbers, tensors () of them, or tensors (B,) with one for each sample; the first
            dimension may hold several rows a sample.
    """
    total = None
    for term, weight in zip(higher, weights, strict=True):
        if isinstance(weight, torch.Tensor):
            addend = term * _for_rows(weight, term)
            total = value + addend if total is None else total.add_(addend)
        elif weight:
            total = torch.add(value, term, alpha=weight) if total is None else total.add_(term, alpha=weight)
    return value if total is None else total


def _for_rows(weight: torch.Tensor, term: torch.Tensor) -> torch.Tensor:
    """A number (), or one a sample (B,), laid out to multiply a term (B x rows of a sample, ...)."""
    if weight.ndim == 0:
        return weight
    weight = weight.repeat_interleave(term.shape[0] // weight.shape[0])
    return weight.to(term.dtype).view(-1, *[1] * (term.ndim - 1))
