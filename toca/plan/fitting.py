"""What features are kept in so that a cache fits: the widest that does, or the numbers of all."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..kernels.narrow import CACHE_DTYPES, name_of
from ..models.shape import CallShape
from .cost import cache_bytes
from .table import PlanTable

BytesIn = Callable[["torch.dtype | None"], int]
"""`dtype that features are kept in -> bytes of the cache`."""


def fitting_dtype(
    plan: PlanTable, shape: CallShape, bytes_in: BytesIn, given: torch.dtype | None, limit: int
) -> torch.dtype | None:
    """The dtype to keep features in: the given one, else the widest with which the cache is not above the limit.

    Args:
        plan (`PlanTable`): The plan.
        shape (`CallShape`): Of a call.
        bytes_in (`Callable`): Bytes of the whole cache by that dtype.
        given (`torch.dtype` or `None`): What was asked for; `None` leaves the choice.
        limit (`int`): Bytes, at most.

    Raises:
        ValueError: If none fits; it says how large the cache is with each, and what keeps less.
    """
    for dtype in (given,) if given is not None else _narrower(plan.layout.itemsize):
        if bytes_in(dtype) <= limit:
            return dtype
    raise ValueError(_refusal(plan, shape, bytes_in, given, limit))


def _narrower(itemsize: int) -> tuple[torch.dtype | None, ...]:
    """The dtypes to be tried for a model that computes with so many bytes a number, the widest first."""
    half = (torch.bfloat16,) if itemsize > torch.bfloat16.itemsize else ()
    return None, *half, torch.float8_e4m3fn


def _refusal(plan: PlanTable, shape: CallShape, bytes_in: BytesIn, given: torch.dtype | None, limit: int) -> str:
    named = "" if given is None else f" in {name_of(given)}"
    sizes = {"None": bytes_in(None), **{repr(name): bytes_in(dtype) for name, dtype in CACHE_DTYPES.items()}}
    table = ", ".join(f"{name}: {amount(size)}" for name, size in sizes.items())
    stack = plan.layout.numbers_leaving(plan.layout.layers - 1, shape) * plan.layout.itemsize
    return (
        f"The cache of {plan.method}{named} takes {amount(sizes[repr(name_of(given)) if named else 'None'])} at this "
        f"size, more than `max_cache_bytes`, {amount(limit)}. By `cache_dtype` it is {table}. Less is kept by methods "
        f'with one residual for the whole stack, {amount(stack)} (`which="teacache"` of a toca.CacheMethod), or for '
        'the model (`scope="lite"` of toca.TaylorSeer); smaller pictures and batches take less in proportion.'
    )


def amount(size: int) -> str:
    """Bytes for people, and where a unit rounds them in full beside it."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB")):
        if size >= unit:
            return f"{size / unit:.2f} {name} ({size:,} bytes)"
    return f"{size:,} bytes"


def branches_bytes(plan: PlanTable, shapes: list[CallShape], batched_cfg: bool, dtype: torch.dtype | None) -> int:
    """Bytes of a cache whose branches have calls of these shapes."""
    itemsize = plan.layout.itemsize
    return sum(cache_bytes(plan, shape, itemsize, batched_cfg, dtype) for shape in shapes)
