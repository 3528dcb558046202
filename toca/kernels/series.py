"""Weighted sums of cached terms."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from . import choice


def weighted_sum(value: torch.Tensor, higher: Sequence[torch.Tensor], weights: Sequence) -> torch.Tensor:
    """`weights[0] * value + sum of weights[i + 1] * higher[i]`; `value` itself where it counts alone, with 1.

    Args:
        value (`torch.Tensor`): Any shape; not written to.
        higher (`Sequence[torch.Tensor]`): The same shape each; of another dtype they are added up in it.
        weights (`Sequence`): Numbers, tensors () of them, or tensors (B,) with one for each sample; the first
            dimension may hold several rows a sample.
    """
    if choice.on and choice.fits_weighted_sum(value, higher, weights):
        from .triton_kernels.weighted_sum import weighted_sum as fused

        return fused(value, higher, weights)
    newest, *others = weights
    total = None
    if isinstance(newest, torch.Tensor) or newest != 1:
        # In float32 at least: weights that nearly cancel are large, and half precision would not hold the parts.
        wide = value.to(torch.promote_types(value.dtype, torch.float32))
        total = wide * _for_rows(newest, wide)
    for term, weight in zip(higher, others, strict=True):
        if isinstance(weight, torch.Tensor):
            term = term if total is None else term.to(total.dtype)
            addend = term * _for_rows(weight, term)
            total = value + addend if total is None else total.add_(addend)
        elif weight:
            total = torch.add(value, term, alpha=weight) if total is None else total.add_(term, alpha=weight)
    return value if total is None else total.to(value.dtype)


def _for_rows(weight: float | torch.Tensor, term: torch.Tensor) -> float | torch.Tensor:
    """A number, or one a sample (B,), laid out to multiply a term (B x rows of a sample, ...)."""
    if not isinstance(weight, torch.Tensor) or weight.ndim == 0:
        return weight
    weight = weight.repeat_interleave(term.shape[0] // weight.shape[0])
    return weight.to(term.dtype).view(-1, *[1] * (term.ndim - 1))
