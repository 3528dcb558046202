"""What a plot shows: the points of each method, and which of them are on its line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toca.eval.findings.quality import ScoreColumn
from toca.eval.findings.results import Results, Row
from toca.eval.metrics.metric import Heading
from toca.eval.report.looks import Look, look_of
from toca.eval.report.scales import scale_of

TUNED = "tuned"
"""The method of plans that a search found for a budget: they stand out."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Quantity:
    """What a plot shows upwards: `of` tells a row's value, `None` where it has none."""

    label: str
    sign: int
    of: Callable[[Row], float | None]


@dataclass(frozen=True)
class Curve:
    """One method: the points of its settings that no other setting of it beats, the others, and its looks. Plans that
    a search found stand out."""

    name: str
    line: list[Point]
    others: list[Point]
    look: Look
    stands_out: bool = False


def fidelity(name: str, metric: Heading) -> Quantity:
    """The mean of a metric of fidelity, as the tables show it."""
    scale = scale_of(name, metric)

    def value(row: Row) -> float | None:
        # Where all pictures are identical nothing is lost, on no scale: such a row has no place in a plot.
        interval = None if row.psnr is None else scale.of(row.fidelity[name])
        return None if interval is None else interval.mean

    return Quantity(scale.label, scale.sign, value)


def quality(column: ScoreColumn) -> Quantity:
    """A quality score; what was refused has no place in a plot."""

    def value(row: Row) -> float | None:
        score = column.scores.get(row.name)
        return None if score is None else score.value

    return Quantity(column.label, column.sign, value)


def find_curves(results: Results, quantity: Quantity) -> list[Curve]:
    """The methods that have a value; what skipped nothing is left out."""
    curves, found = [], searched(results.methods)
    for group in dict.fromkeys(row.group for row in results.methods):
        rows = [row for row in results.methods if row.group == group and not row.skipped_nothing]
        points = [(row.speedup, value) for row in rows if (value := quantity.of(row)) is not None]
        best = [(x, y * quantity.sign) for x, y in frontier([(x, y * quantity.sign) for x, y in points])]
        if points:
            others = [point for point in points if point not in best]
            curves.append(Curve(group, best, others, look_of(group), group in found))
    return curves


def searched(rows: Sequence[Row]) -> set[str]:
    """The groups that are plans which a search found for a budget."""
    return {row.group for row in rows if row.recipe and row.recipe.base.partition("/")[0] == TUNED}


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in both coordinates, from left to right."""
    best: list[Point] = []
    for point in sorted(points, reverse=True):
        if not best or point[1] > best[-1][1]:
            best.append(point)
    return best[::-1]
