"""The polynomial through the last computed values, in the timestep or in the number of the step."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ...checks import Order
from ...registry import register
from ..sampling import Timeline
from .base import Fill
from .renewal import Renewal, shifted


@register
@dataclass(frozen=True)
class Polynomial(Fill):
    """`sum of F_i prod over j != i of (x - x_j) / (x_i - x_j)`: Lagrange's form, through the last O + 1 computed
    values, F_0 the newest, or through fewer where fewer are known.

    In flow matching the timestep is the noise level sigma, a thousand times over, and a factor does not matter. The
    values themselves are kept, as `Fitted` keeps them, so that `Segments` can mix the two. Of steps at the same
    timestep (a scheduler with two calls a step) the newest counts.

    Args:
        order (`int`, defaults to 1): O, its degree.
        variable (`str`, defaults to `"timestep"`): x: the scheduler's `"timestep"`, or the number of the `"step"`.
    """

    order: Order = 1
    variable: Literal["timestep", "step"] = "timestep"

    name: ClassVar[str] = "polynomial"

    @property
    def reads_timesteps(self) -> bool:  # type: ignore[override]
        return self.variable == "timestep"

    @property
    def renewal(self) -> Renewal:
        return shifted

    @property
    def kept(self) -> int:
        return self.order

    @property
    def term_kind(self) -> Hashable:
        return "values"

    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        nodes: dict[float, int] = {}
        for i, known in enumerate(history[: self.order + 1]):
            nodes.setdefault(self._place(known, timeline), i)
        here, weights = self._place(step, timeline), [0.0] * (self.order + 1)
        for node, i in nodes.items():
            weights[i] = math.prod((here - other) / (node - other) for other in nodes if other != node)
        return weights

    def _place(self, step: int, timeline: Timeline) -> float:
        return float(step) if self.variable == "step" else timeline.timesteps[step]
