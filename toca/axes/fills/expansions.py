"""Expansion in the steps since the last one computed: Taylor's, Newton's, Hermite's."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ...checks import Order, SomeShare
from ...registry import register
from ..sampling import Timeline
from .base import Fill

Spacing = Literal["official", "divided"]


@dataclass(frozen=True)
class Expansion(Fill):
    """f_0 + sum over 1 <= i <= O of f_i times a basis function, as far as f_i is known; f_i is an i-th difference."""

    order: Order = 2

    @property
    @abstractmethod
    def spacing(self) -> Spacing:
        """`"official"`: each order is divided by the latest gap between computed steps; `"divided"`: Newton's divided
        differences, exact where gaps differ."""

    @abstractmethod
    def basis(self, i: int, step: int, history: Sequence[int]) -> float:
        """The i-th basis function, 1 <= i <= O, in a step."""

    @property
    def kept(self) -> int:
        return self.order

    @property
    def term_kind(self) -> Hashable:
        return "differences", self.spacing

    def scales(self, history: Sequence[int], timeline: Timeline) -> list[float]:
        known = len(history) - 1
        # Newton: f_(i+1) is over the span of i + 2 computed steps; the official form always takes the latest gap.
        gaps = [history[0] - history[i + 1 if self.spacing == "divided" else 1] for i in range(known)]
        factors = [i + 1 if self.spacing == "divided" else 1 for i in range(known)]
        scales = [factor / gap for factor, gap in zip(factors, gaps, strict=True)]
        return [*scales[: self.order], *[0.0] * (self.order - known)]

    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        known = len(history) - 1
        return [1.0, *(self.basis(i, step, history) if i <= known else 0.0 for i in range(1, self.order + 1))]


@register
@dataclass(frozen=True)
class Taylor(Expansion):
    """The Taylor series (Liu et al., arXiv 2503.06923, equation 6): x^i / i!, x the steps since the last computed.

    Args:
        order (`int`, defaults to 2): O, the highest derivative.
    """

    name: ClassVar[str] = "taylor"
    spacing: ClassVar[Spacing] = "official"

    def basis(self, i: int, step: int, history: Sequence[int]) -> float:
        return math.prod((step - history[0],) * i) / math.factorial(i)


@register
@dataclass(frozen=True)
class Newton(Expansion):
    """The polynomial through the last O + 1 computed values, by divided differences; exact where gaps differ.

    Args:
        order (`int`, defaults to 2): O, its degree.
    """

    name: ClassVar[str] = "newton"
    spacing: ClassVar[Spacing] = "divided"

    def basis(self, i: int, step: int, history: Sequence[int]) -> float:
        """The product of the distances from the last i computed steps, over i!."""
        return math.prod(step - node for node in history[:i]) / math.factorial(i)


@register
@dataclass(frozen=True)
class Hermite(Expansion):
    """Hermite polynomials (Feng et al., arXiv 2508.16984, section 3.3): sigma^i H_i(sigma x) / i!, x the steps since
    the last computed and H_i the physicists' polynomials.

    Args:
        order (`int`, defaults to 2): O, the highest derivative.
        sigma (`float`, defaults to 0.5): Above 0, at most 1; it scales twice, so that they do not grow out of bounds.
        spacing (`str`, defaults to `"official"`): Of the f_i.
    """

    sigma: SomeShare = 0.5
    spacing: Spacing = "official"

    name: ClassVar[str] = "hermite"

    def basis(self, i: int, step: int, history: Sequence[int]) -> float:
        return self.sigma**i * hermite(i, self.sigma * (step - history[0])) / math.factorial(i)


def hermite(i: int, x: float) -> float:
    """H_i(x), the physicists' Hermite polynomial, by its recurrence: H_(i+1) = 2x H_i - 2i H_(i-1)."""
    before, polynomial = 0.0, 1.0
    for n in range(i):
        before, polynomial = polynomial, 2 * x * polynomial - 2 * n * before
    return polynomial
