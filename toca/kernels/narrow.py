"""Features in fewer bytes: half precision, or eight bits with a scale for each row."""

from __future__ import annotations

from typing import Any

import torch

from ..checks import refusal

CACHE_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.float8_e4m3fn}
"""What features may be kept in, by the names that users give."""

FP8 = torch.float8_e4m3fn
LARGEST = 448.0
"""Of the eight bits: 4 of exponent, 3 of mantissa."""

SCALE_BYTES = 4
"""Of the scale of a row, float32."""

LEAST_SCALE = torch.finfo(torch.float32).tiny
LARGEST_HALF = torch.finfo(torch.float16).max


def cache_dtype_of(value: Any, name: str = "cache_dtype") -> torch.dtype | None:
    """The dtype that features are kept in, from its name or from itself; `None` for the one they are computed in.

    Raises:
        ValueError: If it is none of these.
    """
    if value is None:
        return None
    found = CACHE_DTYPES.get(value) if isinstance(value, str) else value
    if isinstance(found, torch.dtype) and found in CACHE_DTYPES.values():
        return found
    allowed = ", ".join(f"{short!r} ({dtype})" for short, dtype in CACHE_DTYPES.items())
    raise refusal(name, value, f"must be {allowed}, or None for the dtype that the model computes in")


def name_of(dtype: torch.dtype | None) -> str:
    """The short name of such a dtype; empty for `None`."""
    return next((short for short, known in CACHE_DTYPES.items() if known == dtype), "")


def scale_bytes(dtype: torch.dtype | None, rows: int) -> int:
    """Bytes of the scales of so many rows."""
    return SCALE_BYTES * rows if dtype == FP8 else 0


def narrowed(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The tensor in half precision. What is beyond the range of float16 is kept as the largest number there: some
    models in bfloat16 have features of more than 65,504."""
    if tensor.dtype == dtype:
        return tensor
    narrow = tensor.to(dtype)
    return narrow.clamp_(-LARGEST_HALF, LARGEST_HALF) if dtype == torch.float16 else narrow


def to_fp8(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (..., C) in eight bits, and the scale of each (..., 1), float32.

    A scale is the least power of two that brings the row's largest number to 448 or less. As the eight bits are a
    floating-point number it costs no precision, and with it what is read is exact in half precision too: to write it
    once more changes nothing. A row with a number that is not finite comes back as NaN.
    """
    largest = rows.abs().amax(dim=-1, keepdim=True).float()
    least = max(torch.finfo(rows.dtype).tiny, LEAST_SCALE)
    scale = torch.exp2(torch.log2((largest / LARGEST).clamp_min(least)).ceil())
    return (rows / scale.to(rows.dtype)).to(FP8), scale


def from_fp8(codes: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What `to_fp8` has written, in another dtype."""
    rows = codes.to(dtype).mul_(scale.to(dtype))
    # A number near the largest of float16 may have been rounded up beyond it.
    return rows.clamp_(-LARGEST_HALF, LARGEST_HALF) if dtype == torch.float16 else rows
