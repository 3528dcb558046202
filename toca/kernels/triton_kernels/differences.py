"""Divided differences of all orders in one pass: each tensor is read once, and each difference written once."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from ..choice import MOST_ORDERS

BLOCK = 1024


@triton.jit
def _difference(out, carry, before, scale, at, here):
    """Rounded where torch rounds; 0 where it is not finite."""
    kind = out.dtype.element_ty
    old = tl.load(before + at, mask=here, other=0.0).to(tl.float32)
    difference = (((carry - old).to(kind).to(tl.float32)) * scale).to(kind).to(tl.float32)
    difference = tl.where(tl.abs(difference) < float("inf"), difference, 0.0)
    tl.store(out + at, difference.to(kind), mask=here)
    return difference


@triton.jit
def _kernel(value, out1, out2, out3, old1, old2, old3, s1, s2, s3, numbers, ORDERS: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here = at < numbers
    carry = tl.load(value + at, mask=here, other=0.0).to(tl.float32)
    carry = _difference(out1, carry, old1, s1, at, here)
    if ORDERS > 1:
        carry = _difference(out2, carry, old2, s2, at, here)
    if ORDERS > 2:
        carry = _difference(out3, carry, old3, s3, at, here)


def differences(
    value: torch.Tensor, before: torch.Tensor, terms: Sequence[torch.Tensor], scales: Sequence[float]
) -> list[torch.Tensor]:
    """`toca.axes.fills.renewal.differences` of contiguous tensors of one shape and dtype, with numbers for scales."""
    lacking, numbers = [value] * (MOST_ORDERS - len(terms)), value.numel()
    outs, olds = [torch.empty_like(value) for _ in terms], [before, *terms[:-1]]
    factors = [*map(float, scales), *[0.0] * len(lacking)]
    with torch.cuda.device_of(value):
        _kernel[(triton.cdiv(numbers, BLOCK),)](
            value, *outs, *lacking, *olds, *lacking, *factors, numbers, ORDERS=len(terms), BLOCK=BLOCK
        )
    return outs
