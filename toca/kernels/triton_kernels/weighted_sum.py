"""A weighted sum in one pass: each tensor is read once, and nothing is written but the sum."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from ..choice import MOST_TERMS

BLOCK = 1024


@triton.jit
def _plus(total, term, weight, at, here):
    return total + weight * tl.load(term + at, mask=here, other=0.0).to(tl.float32)


@triton.jit
def _kernel(
    out, value, t1, t2, t3, t4, t5, t6, w0, w1, w2, w3, w4, w5, w6, numbers, TERMS: tl.constexpr, BLOCK: tl.constexpr
):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = at < numbers
    total = w0 * tl.load(value + at, mask=here, other=0.0).to(tl.float32)
    if TERMS > 0:
        total = _plus(total, t1, w1, at, here)
    if TERMS > 1:
        total = _plus(total, t2, w2, at, here)
    if TERMS > 2:
        total = _plus(total, t3, w3, at, here)
    if TERMS > 3:
        total = _plus(total, t4, w4, at, here)
    if TERMS > 4:
        total = _plus(total, t5, w5, at, here)
    if TERMS > 5:
        total = _plus(total, t6, w6, at, here)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=here)


def weighted_sum(value: torch.Tensor, higher: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """`toca.kernels.series.weighted_sum` of contiguous tensors of one shape, with numbers for weights. It is added up
    in float32 and rounded once, where the plain form rounds half precision after every term."""
    newest, *others = weights
    terms = [(term, float(weight)) for term, weight in zip(higher, others, strict=True) if weight]
    if newest == 1 and not terms:
        return value
    padded = terms + [(value, 0.0)] * (MOST_TERMS - len(terms))
    tensors, factors = zip(*padded, strict=True)
    out, numbers = torch.empty_like(value), value.numel()
    with torch.cuda.device_of(value):
        _kernel[(triton.cdiv(numbers, BLOCK),)](
            out, value, *tensors, float(newest), *factors, numbers, TERMS=len(terms), BLOCK=BLOCK
        )
    return out
