"""Chebyshev polynomials through all computed steps, by ridge regression: Spectrum (arXiv 2603.01623)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from ...checks import Order, Within
from ...registry import register
from ..sampling import Timeline
from .base import Fill
from .renewal import Renewal, accumulated


@register
@dataclass(frozen=True)
class Chebyshev(Fill):
    """`phi(s) (Phi^T Phi + lambda I)^-1 Phi^T H`: H all values computed so far, phi the polynomials T_0 to T_M at
    tau = 2s / S - 1, a row of Phi for each computed step.

    Not the values are kept but their M + 1 products with the polynomials, Phi^T H, in float32, however many steps have
    been computed.

    Args:
        degree (`int`, defaults to 4): M.
        ridge (`float`, defaults to 0.1): lambda, above 0.
    """

    degree: Order = 4
    ridge: Annotated[float, Within(0, 1e6, open=True)] = 0.1

    name: ClassVar[str] = "chebyshev"

    @property
    def renewal(self) -> Renewal:
        return accumulated

    @property
    def kept(self) -> int:
        return self.degree + 1

    @property
    def remembers(self) -> None:
        return None

    @property
    def term_kind(self) -> Hashable:
        return "moments", self.degree

    def scales(self, history: Sequence[int], timeline: Timeline) -> list[float]:
        return self._basis(history[:1], timeline)[0].tolist()

    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        design = self._basis(history, timeline)
        gram = design.T @ design + self.ridge * np.eye(self.kept)
        return [0.0, *np.linalg.solve(gram, self._basis([step], timeline)[0]).tolist()]

    def term_bytes(self, itemsize: int) -> int:
        return self.kept * max(4, itemsize)

    def _basis(self, steps: Sequence[int], timeline: Timeline) -> np.ndarray:
        """T_0 to T_M at each step, (steps, M + 1)."""
        tau = 2 * np.asarray(steps, dtype=np.float64) / timeline.num_inference_steps - 1
        return np.polynomial.chebyshev.chebvander(tau, self.degree)
