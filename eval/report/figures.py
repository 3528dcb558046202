"""Speed against each metric, as SVG that is the same every time it is drawn.

Every plot comes in two layouts: a wide one with each method's name beside its line, and a narrow one, for phones, with
the names below. Its ground is transparent, so that the page can show it light or dark.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from toca.eval.findings.results import Results
from toca.eval.report.content import Report
from toca.eval.report.curves import Curve, Quantity, fidelity, find_curves, quality
from toca.eval.report.drawing import DARK, draw_axes, list_names
from toca.eval.report.names import name_points

# Text stays text, and names inside the file come from what it holds, not from chance.
SETTINGS: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "toca", "font.family": "DejaVu Sans"}
ROW = 0.22
"""Inches of a name in the list."""


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


def _plot(results: Results, quantity: Quantity, curves: list[Curve]) -> Plot:
    with matplotlib.rc_context(SETTINGS):
        return Plot(quantity.label, _wide(results, quantity, curves), _narrow(results, quantity, curves), len(curves))


def _wide(results: Results, quantity: Quantity, curves: list[Curve]) -> bytes:
    figure = Figure(figsize=(10, max(5.0, ROW * len(curves) + 1.5)), layout="constrained")
    axes = figure.add_subplot()
    _draw(axes, results, quantity, curves)
    list_names(figure, curves, "outside right upper")
    name_points(figure, axes, results, quantity, curves)
    return _svg(figure)


def _narrow(results: Results, quantity: Quantity, curves: list[Curve]) -> bytes:
    lines = (len(curves) + 2) // 2
    figure = Figure(figsize=(4.2, 4.0 + 0.17 * lines), layout="constrained")
    _draw(figure.add_subplot(), results, quantity, curves)
    list_names(figure, curves, "outside lower center", 2, 7)
    return _svg(figure)


def _draw(axes: Axes, results: Results, quantity: Quantity, curves: list[Curve]) -> None:
    """Everything but the names, with seconds on a second axis above."""
    draw_axes(axes, results, quantity, curves)
    axes.set_xlim(left=max(axes.get_xlim()[0], 0.1))
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
    above.spines["top"].set_visible(False)


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return file.getvalue()
