"""Speed against each metric, as SVG that is the same every time it is drawn.

Every plot comes in two layouts: a wide one with each method's name beside its line, and a narrow one, for phones, with
the names below. Its ground is transparent, so that the page can show it light or dark.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from toca.eval.findings.quality import ScoreColumn
from toca.eval.findings.results import Results, Row
from toca.eval.metrics.metric import Heading
from toca.eval.report.content import Report, is_peer
from toca.eval.report.plot import (
    BOLD,
    COLOURS,
    DARK,
    FEWER_LABEL,
    GREY,
    MARKERS,
    ROW,
    Label,
    Point,
    draw_fewer_steps,
    frontier,
    name_beside,
    searched,
)
from toca.files.figures import plain

# Text stays text, and names inside the file come from what it holds, not from chance.
SETTINGS: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "toca", "font.family": "DejaVu Sans"}
PEER_MARKER = "*"
MARGIN = 1.6  # inches of the figure above and below the axes: there is a second axis above
DECADE = 10.0
"""A distance that reaches further than by this factor has a logarithmic axis."""


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
    colour: str
    marker: str
    is_peer: bool
    stands_out: bool = False


@dataclass(frozen=True)
class Plot:
    """A figure in both layouts, as SVG."""

    label: str
    wide: bytes
    narrow: bytes
    methods: int


def plots(report: Report) -> list[Plot]:
    """One for each metric of fidelity and each quality score that any method has a value of."""
    quantities = [fidelity(name, metric) for name, metric in report.results.metrics.items()]
    quantities += [quality(column) for column in report.scores]
    made = ((quantity, find_curves(report.results, quantity)) for quantity in quantities)
    return [_plot(report.results, quantity, curves) for quantity, curves in made if curves]


def fidelity(name: str, metric: Heading) -> Quantity:
    """The mean of a metric of fidelity."""

    def value(row: Row) -> float | None:
        # Where all pictures are identical nothing is lost, on no scale: such a row has no place in a plot.
        interval = None if row.psnr is None else row.fidelity[name]
        return None if interval is None else interval.mean

    return Quantity(metric.text, metric.sign, value)


def quality(column: ScoreColumn) -> Quantity:
    """A quality score; what was refused has no place in a plot."""

    def value(row: Row) -> float | None:
        score = column.scores.get(row.name)
        return None if score is None else score.value

    return Quantity(column.label, column.sign, value)


def find_curves(results: Results, quantity: Quantity) -> list[Curve]:
    """The methods that have a value; what skipped nothing is left out. A method has the same looks in every plot."""
    styles = ((colour, marker) for marker, colour in itertools.product(MARKERS, COLOURS))
    curves = []
    groups, found = dict.fromkeys(row.group for row in results.methods), searched(results.methods)
    for group, (colour, marker) in zip(groups, itertools.cycle(styles)):
        rows = [row for row in results.methods if row.group == group and not row.skipped_nothing]
        points = [(row.speedup, value) for row in rows if (value := quantity.of(row)) is not None]
        best = [(x, y * quantity.sign) for x, y in frontier([(x, y * quantity.sign) for x, y in points])]
        if points:
            peer = is_peer(rows[0])
            others = [point for point in points if point not in best]
            looks = PEER_MARKER if peer else marker, peer, group in found
            curves.append(Curve(group, best, others, colour, *looks))
    return curves


def _plot(results: Results, quantity: Quantity, curves: list[Curve]) -> Plot:
    with matplotlib.rc_context(SETTINGS):
        return Plot(quantity.label, _wide(results, quantity, curves), _narrow(results, quantity, curves), len(curves))


def _wide(results: Results, quantity: Quantity, curves: list[Curve]) -> bytes:
    figure = Figure(figsize=(10, max(5.0, ROW * len(curves) + 1.5)), layout="constrained")
    axes = figure.add_subplot()
    fewer = _draw(axes, results, quantity, curves)
    labels = [(each.name, each.colour, each.line[-1]) for each in curves] + fewer
    name_beside(axes, labels, figure.get_figheight() - MARGIN, {each.name for each in curves if each.stands_out})
    return _svg(figure)


def _narrow(results: Results, quantity: Quantity, curves: list[Curve]) -> bytes:
    lines = (len(curves) + 2) // 2
    figure = Figure(figsize=(4.2, 4.0 + 0.17 * lines), layout="constrained")
    axes = figure.add_subplot()
    _draw(axes, results, quantity, curves)
    looks = [Line2D([], [], color=GREY, linewidth=6, alpha=0.55, label=FEWER_LABEL)]
    for each in curves:
        looks.append(Line2D([], [], color=each.colour, marker=each.marker, markersize=5, label=plain(each.name)))
    figure.legend(handles=looks, loc="outside lower center", ncols=2, fontsize=7, frameon=False)
    return _svg(figure)


def _draw(axes: Axes, results: Results, quantity: Quantity, curves: list[Curve]) -> list[Label]:
    """Everything but the names; returns the label of the runs without a cache."""
    fewer = draw_fewer_steps(axes, results.uncached, quantity.of)
    uncached = [value for row in results.uncached if (value := quantity.of(row)) is not None]
    for each in curves:
        _draw_series(axes, each)
    _scale(axes, quantity, [y for each in curves for _, y in (*each.line, *each.others)] + uncached)
    _dress(axes, results, quantity)
    return fewer


def _draw_series(axes: Axes, curves: Curve) -> None:
    size, style = (110, "--") if curves.is_peer else (40, "-")
    xs, ys = zip(*curves.line, strict=True)
    above = 2 if curves.stands_out else 0
    width, size = (BOLD, 80) if curves.stands_out else (1.6, size)
    axes.plot(xs, ys, color=curves.colour, linewidth=width, linestyle=style, zorder=3 + above)
    axes.scatter(xs, ys, color=curves.colour, marker=curves.marker, s=size, zorder=4 + above)
    if curves.others:
        xs, ys = zip(*curves.others, strict=True)
        axes.scatter(xs, ys, color=curves.colour, marker=curves.marker, s=16, alpha=0.35, linewidths=0, zorder=2)


def _scale(axes: Axes, quantity: Quantity, values: list[float]) -> None:
    """Better is always higher up; a distance that spans more than a decade is shown by its ratios."""
    if quantity.sign < 0:
        if min(values) > 0 and max(values) / min(values) > DECADE:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
        axes.invert_yaxis()
    axes.autoscale_view()


def _dress(axes: Axes, results: Results, quantity: Quantity) -> None:
    arrow = "" if quantity.sign > 0 else " (less is better)"
    axes.set_xlim(left=max(axes.get_xlim()[0], 0.1))
    axes.set_xlabel("speed-up of the denoising loop, by the clock", color=DARK)
    axes.set_ylabel(f"{quantity.label}{arrow}", color=DARK)
    seconds = results.uncached[-1].loop_seconds

    def convert(values: ArrayLike) -> np.ndarray:
        # Seconds to speed-ups and back; matplotlib asks for 0 too while it makes the axis.
        return seconds / np.maximum(values, 1e-6)

    above = axes.secondary_xaxis("top", functions=(convert, convert))
    first, last = axes.get_xlim()
    above.set_xticks([convert(tick) for tick in axes.get_xticks() if first <= tick <= last])
    above.xaxis.set_major_formatter("{x:.3g}")
    above.set_xlabel("about this many seconds a batch", color=DARK, fontsize=8)
    for axis in (axes, above):
        axis.tick_params(colors=DARK, labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    above.spines["top"].set_visible(False)
    axes.grid(color="#8a8a8a", alpha=0.25, linewidth=0.8)
    axes.set_axisbelow(True)


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue()
