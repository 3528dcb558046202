"""Weights that were fitted to a model: of the newest value and of those before it, step by step."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...checks import check
from ...registry import register
from ..sampling import Timeline
from .base import Fill
from .renewal import Renewal, shifted


@register
@dataclass(frozen=True)
class Fitted(Fill):
    """`sum of w_i(s) F_i` in step s, F_0 the newest computed value, F_1 the one before it and so on.

    Least squares over recorded generations gives the weights; straight lines, scaled differences and reuse are among
    them. Where fewer values have been computed than a row has weights, the newest stands in for those that lack.

    Args:
        rows (`tuple[tuple[float, ...], ...]`): One row of weights, all of one length, for each step of the generation.

    Raises:
        ValueError: If there are no rows, or their lengths differ.
    """

    rows: tuple[tuple[float, ...], ...]

    name: ClassVar[str] = "fitted"

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths = {len(row) for row in self.rows}
        check(len(lengths) == 1 and 0 not in lengths, "rows", self.rows, "must be rows of weights of one length")

    @property
    def renewal(self) -> Renewal:
        return shifted

    @property
    def kept(self) -> int:
        return len(self.rows[0]) - 1

    @property
    def term_kind(self) -> Hashable:
        return "values"

    def check_steps(self, num_inference_steps: int) -> None:
        wanted = f"must be one for each of the {num_inference_steps} steps"
        check(len(self.rows) == num_inference_steps, "rows", len(self.rows), wanted)

    def row(self, step: int) -> tuple[float, ...]:
        """The weights of a step, of the newest value first."""
        return self.rows[step]

    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        row = self.row(step)
        known = min(len(history), len(row))
        return [row[0] + sum(row[known:]), *row[1:known], *[0.0] * (len(row) - known)]
