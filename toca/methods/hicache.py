"""HiCache: Hermite polynomials for the forecast (Feng et al., arXiv 2508.16984)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..axes.fills import Fill
from ..axes.fills.expansions import Hermite
from ..checks import SomeShare
from ..registry import register
from .taylorseer import TaylorSeer


@register
@dataclass(frozen=True)
class HiCache(TaylorSeer):
    """TaylorSeer on another basis: derivatives of features behave like Gaussian variables, for which Hermite
    polynomials are the natural one.

    **When**, **which**: as TaylorSeer. **Fill** (section 3.3): `F(x) = f_0 + sum over 1 <= i <= O of
    f_i sigma^i H_i(sigma x) / i!`, x the steps since the last full one and H_i the physicists' Hermite polynomials,
    H_1 = 2x, H_(i+1) = 2x H_i - 2i H_(i-1); sigma scales twice, so that they do not grow out of bounds.

    Args:
        interval (`int`, defaults to 4): As in `TaylorSeer`.
        order (`int`, defaults to 2): As in `TaylorSeer`.
        warmup_steps (`int`, defaults to 2): As in `TaylorSeer`.
        scope (`str`, defaults to `"module"`): As in `TaylorSeer`.
        spacing (`str`, defaults to `"official"`): As in `TaylorSeer`, for the f_i.
        sigma (`float`, defaults to 0.5): Above 0, at most 1.

    Raises:
        ValueError: If a value is out of range; it names the value.
    """

    sigma: SomeShare = 0.5

    name: ClassVar[str] = "hicache"
    title: ClassVar[str] = "Feng et al., 2025, arXiv 2508.16984"

    def filling(self) -> Fill:
        return Hermite(self.order, self.sigma, self.spacing)
