"""A straight line of which only a fitted part is taken: ScalingCache."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from ...checks import check
from ...models import Site
from ...registry import register
from ..sampling import Timeline
from .base import Fill


@register
@dataclass(frozen=True)
class Scaled(Fill):
    """`y + alpha k D`, k steps after the last computed value y, `D = (y - y') / (the gap between the two)`.

    alpha 0 is reuse, 1 the straight line. It is another one for each site, step and k; a span has the mean of all
    sites'.

    Args:
        sites (`tuple[str, ...]`): Their names, `layer.module`.
        slopes (`tuple`): For each of them, and each step of the generation, alpha for k = 1, 2, ...; the last one is
            for all larger k too.

    Raises:
        ValueError: If there are not as many rows as sites, or the rows differ in length.
    """

    sites: tuple[str, ...]
    slopes: tuple[tuple[tuple[float, ...], ...], ...]

    name: ClassVar[str] = "scaled"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(len(self.slopes) == len(self.sites), "slopes", len(self.slopes), "must be one row for each of the sites")
        lengths = {len(slopes) for rows in self.slopes for slopes in rows}
        even = len({len(rows) for rows in self.slopes}) < 2 and len(lengths) < 2 and 0 not in lengths
        check(even, "slopes", self.slopes, "must be rows of one length")

    @property
    def kept(self) -> int:
        return 1

    @property
    def term_kind(self) -> Hashable:
        return "differences", "official"

    def scales(self, history: Sequence[int], timeline: Timeline) -> list[float]:
        return [1 / (history[0] - history[1]) if len(history) > 1 else 0.0]

    def check_steps(self, num_inference_steps: int) -> None:
        wanted = f"must be one for each of the {num_inference_steps} steps"
        steps = len(self.slopes[0]) if self.slopes else 0
        check(steps == num_inference_steps, "slopes", steps, wanted)

    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        return self._weights([rows[step] for rows in self.slopes], step, history)

    def weights_at(self, site: Site, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        place = self._places.get(f"{site.layer}.{site.module}")
        if place is None:
            return self.weights(step, history, timeline)
        return self._weights([self.slopes[place][step]], step, history)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.sites)}

    def _weights(self, rows: Sequence[Sequence[float]], step: int, history: Sequence[int]) -> list[float]:
        """With the mean of several rows' alpha."""
        if len(history) < 2:
            return [1.0, 0.0]
        k = step - history[0]
        alphas = [row[min(k, len(row)) - 1] for row in rows]
        return [1.0, k * sum(alphas) / len(alphas)]
