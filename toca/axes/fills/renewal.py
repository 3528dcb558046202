"""How a newly computed value enters the terms that a fill keeps. Each is one recurrence over tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ...kernels import choice

Renewal = Callable[[torch.Tensor, "torch.Tensor | None", list[torch.Tensor], Sequence[Any]], list[torch.Tensor]]
"""`(value, value before it or None, terms f_1 to f_O, scales) -> new terms`; the value is f_0, not among them."""


def differences(
    value: torch.Tensor, before: torch.Tensor | None, terms: list[torch.Tensor], scales: Sequence[Any]
) -> list[torch.Tensor]:
    """`f_(i+1) = (f_i(new) - f_i(old)) * scale_i`: divided differences, derivatives."""
    if choice.on and choice.fits_differences(value, before, terms, scales):
        from ...kernels.triton_kernels.differences import differences as fused

        return fused(value, before, terms, scales)  # type: ignore[arg-type]
    renewed: list[torch.Tensor] = []
    carry = value
    for old, scale in zip(terms, scales, strict=True):
        difference = torch.zeros_like(carry) if before is None else torch.sub(carry, before)
        # A number that is not finite, now or then, does not say where it goes: what goes on from it stands still.
        carry = difference.mul_(scale).nan_to_num_(0.0, 0.0, 0.0)
        renewed.append(carry)
        before = old
    return renewed


def shifted(
    value: torch.Tensor, before: torch.Tensor | None, terms: list[torch.Tensor], scales: Sequence[Any]
) -> list[torch.Tensor]:
    """`f_(i+1)(new) = f_i(old)`: the last values themselves; zero where there is none yet."""
    first = torch.zeros_like(value) if before is None else before
    # In the place of a number that is not finite, which less itself is none, stands the newest one.
    return [torch.where(old - old == 0, old, value) for old in (first, *terms[:-1])]


def last_change(renewal: Renewal, value: torch.Tensor, terms: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """How far the value is from the one before it, up to a factor that is the same for all its numbers: told by the
    terms, without a tensor kept for it; `None` of terms that do not tell it."""
    if not terms or renewal not in (differences, shifted):
        return None
    return terms[0] if renewal is differences else value - terms[0]


def accumulated(
    value: torch.Tensor, before: torch.Tensor | None, terms: list[torch.Tensor], scales: Sequence[Any]
) -> list[torch.Tensor]:
    """`f_i(new) = f_i(old) + scale_i * value`: sums over all steps that computed, in float32."""
    # A number that is not finite counts as 0, or no later sum would be any better.
    sound = value.float().nan_to_num(0.0, 0.0, 0.0)
    return [term + scale * sound for term, scale in zip(terms, scales, strict=True)]
