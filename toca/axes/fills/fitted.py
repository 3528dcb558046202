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
    """`sum of w_i(s) F_i + v(s) x` in step s, F_0 the newest computed value, F_1 the one before it and so on, and x
    the model's input.

    Least squares over recorded generations gives the weights; straight lines, scaled differences and reuse are among
    them. Where fewer values have been computed than a row has weights, the newest stands in for those that lack. The
    input has a part in the model's own output alone, and tells there where the filled steps have led: the steps of
    solvers that are made for a model are sums of where they began and of outputs too (Bespoke Non-Stationary Solvers,
    arXiv 2403.01329).

    Args:
        rows (`tuple[tuple[float, ...], ...]`): One row of weights, all of one length, for each step of the generation.
        latents (`tuple[float, ...]`, *optional*): The weight of the model's input, for each step; none where it has no
            part.

    Raises:
        ValueError: If there are no rows, or their lengths differ, or there are weights of the input for more steps or
            fewer.
    """

    rows: tuple[tuple[float, ...], ...]
    latents: tuple[float, ...] = ()

    name: ClassVar[str] = "fitted"

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths = {len(row) for row in self.rows}
        check(len(lengths) == 1 and 0 not in lengths, "rows", self.rows, "must be rows of weights of one length")
        fits = len(self.latents) in (0, len(self.rows))
        check(fits, "latents", self.latents, f"must be a weight for each of the {len(self.rows)} steps, or none")

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

    @property
    def adds_latents(self) -> bool:
        return any(self.latents)

    def latents_weight(self, step: int) -> float:
        return self.latents[step] if self.latents else 0.0

    def row(self, step: int) -> tuple[float, ...]:
        """The weights of a step, of the newest value first."""
        return self.rows[step]

    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        row = self.row(step)
        known = min(len(history), len(row))
        return [row[0] + sum(row[known:]), *row[1:known], *[0.0] * (len(row) - known)]
