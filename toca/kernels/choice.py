"""Which form of a hot operation runs: the one in plain torch, or a Triton kernel. It is decided here alone.

A kernel runs where it is on and its tensors suit it; in all other cases the plain form does. The environment variable
`TOCA_KERNELS` says which are on: `triton` all, `torch` none; where it is not set, those of `MEASURED`. A kernel's
file, and with it Triton, is imported when it first runs.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ..checks import refusal

VARIABLE = "TOCA_KERNELS"

KERNELS = ("weighted_sum", "differences", "column_mass")
"""What there is, each in a file of its name in `triton_kernels/`."""

MEASURED: dict[str, str] = {}
"""Kernels that were faster than torch on a GPU, by name, and the figure that says so: these are on unless told
otherwise. Empty, for none has been timed yet; `python -m toca.eval.benchmarks.kernels` times them."""

DEVICES = ("cuda",)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)

MOST_TERMS = 6
"""Terms of a sum beside its newest value."""
MOST_ORDERS = 3
"""Differences that one pass makes."""
MOST_WIDTH = 128
"""Of an attention head: tiles of wider ones in float32 do not fit into the shared memory of many GPUs."""


def wanted(told: str | None) -> tuple[str, ...]:
    """The kernels that are on; none where Triton is not installed.

    Args:
        told (`str` or `None`): What `TOCA_KERNELS` says.

    Raises:
        ValueError: If it is neither `triton` nor `torch`.
    """
    if told not in (None, "", "triton", "torch"):
        raise refusal(VARIABLE, told, "must be 'triton' or 'torch', or not set")
    names = {"triton": KERNELS, "torch": ()}.get(told or "", tuple(MEASURED))
    return names if names and importlib.util.find_spec("triton") else ()


on = wanted(os.environ.get(VARIABLE))
"""Those that are on; whoever has a kernel asks this first, which costs nothing where none is."""


@contextmanager
def using(told: str | None) -> Iterator[None]:
    """What `TOCA_KERNELS` says, for the length of a `with` block and the whole process."""
    global on
    before, on = on, wanted(told)
    try:
        yield
    finally:
        on = before


def fits_weighted_sum(value: torch.Tensor, higher: Sequence[torch.Tensor], weights: Sequence[Any]) -> bool:
    """Whether the kernel is to make this sum. Weights that a gate tells are tensors, for which it is not made; nor is
    it for graphs, for a compiler fuses the plain form itself."""
    return (
        "weighted_sum" in on
        and not torch.compiler.is_compiling()
        and len(higher) <= MOST_TERMS
        and not any(isinstance(weight, torch.Tensor) for weight in weights)
        and _alike(value, *higher)
    )


def fits_differences(
    value: torch.Tensor, before: torch.Tensor | None, terms: Sequence[torch.Tensor], scales: Sequence[Any]
) -> bool:
    """Whether the kernel is to make these differences."""
    return (
        "differences" in on
        and not torch.compiler.is_compiling()
        and before is not None
        and 1 <= len(terms) <= MOST_ORDERS
        and not any(isinstance(scale, torch.Tensor) for scale in scales)
        and all(each.dtype == value.dtype for each in (before, *terms))
        and _alike(value, before, *terms)
    )


def fits_column_mass(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None) -> bool:
    """Whether the kernel is to sum this attention, in graphs too."""
    return (
        "column_mass" in on
        and mask is None
        and query.dtype == key.dtype
        and query.shape[-1] <= MOST_WIDTH
        and _suit(query)
        and _suit(key)
    )


def _alike(value: torch.Tensor, *others: torch.Tensor) -> bool:
    """Whether all suit a kernel that goes through them number by number."""
    return all(
        each.shape == value.shape and each.device == value.device and each.is_contiguous() and _suit(each)
        for each in (value, *others)
    )


def _suit(tensor: torch.Tensor) -> bool:
    """Whether kernels take such tensors; they have no gradients."""
    return tensor.device.type in DEVICES and tensor.dtype in DTYPES and not tensor.requires_grad
