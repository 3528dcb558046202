"""How a plot is drawn, in the page and as a file: speed to the right, better upwards, each method in its looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from toca.eval.findings.results import Results
from toca.eval.report.curves import Curve, Point, Quantity
from toca.eval.variants import FEWER_STEPS
from toca.files.figures import plain

Place = Literal["outside right upper", "outside lower center"]
GREY, DARK = "#9a9a9a", "#333333"
FEWER_LABEL = f"{FEWER_STEPS}, no cache"
BOLD, THIN = 3.2, 1.6
"""How wide the line is of plans that a search found, and of methods."""
DECADE = 10.0
"""A distance that reaches further than by this factor has a logarithmic axis."""
FENCE, LEAST = 3.0, 6
"""What lies further from the middle half than by so many times its width is at the edge of the plot; of fewer points
than the second number nothing is."""

ROOM = 0.05
"""What stays free beside the points, as a part of their span; of points that are all alike, of their value."""


def draw_axes(axes: Axes, results: Results, quantity: Quantity, curves: Sequence[Curve]) -> None:
    """Everything but the names."""
    uncached = [(row.speedup, value) for row in results.uncached if (value := quantity.of(row)) is not None]
    _draw_fewer_steps(axes, results, quantity)
    for curve in curves:
        _draw_curve(axes, curve)
    points = [point for curve in curves for point in (*curve.line, *curve.others)] + uncached
    if quantity.sign < 0 and min(y for _, y in points) > 0 and _span([y for _, y in points]) > DECADE:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    axes.autoscale_view()
    if points:
        _leave_out_the_far(axes, points)
    if quantity.sign < 0:
        axes.invert_yaxis()
    for curve in curves:
        _mark_the_far(axes, curve)
    arrow = "" if quantity.sign > 0 else " (less is better)"
    axes.set_xlabel("speed-up of the denoising loop, by the clock", color=DARK)
    axes.set_ylabel(f"{quantity.label}{arrow}", color=DARK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#8a8a8a", alpha=0.25, linewidth=0.8)
    axes.set_axisbelow(True)


def _draw_fewer_steps(axes: Axes, results: Results, quantity: Quantity) -> None:
    """The runs without a cache, in the order of their steps.

    What is no faster for fewer steps is noise, which must be seen as such.
    """
    rows = [(row, value) for row in results.uncached if (value := quantity.of(row)) is not None]
    xs, ys = [row.speedup for row, _ in rows], [value for _, value in rows]
    axes.plot(xs, ys, color=GREY, linewidth=7, alpha=0.55, solid_capstyle="round", zorder=1)
    for row, value in rows:
        place = (row.speedup, value)
        axes.annotate(
            f"{row.num_inference_steps}", place, ha="center", va="center", fontsize=6.5, color=DARK, zorder=2,
            annotation_clip=True,
        )  # fmt: skip


def _draw_curve(axes: Axes, curve: Curve) -> None:
    xs, ys = zip(*curve.line, strict=True)
    axes.plot(xs, ys, zorder=5 if curve.stands_out else 3, **_line(curve))
    if curve.others:
        xs, ys = zip(*curve.others, strict=True)
        looks = _line(curve) | {"linestyle": "none", "markersize": 4.5}
        axes.plot(xs, ys, zorder=2, alpha=0.45, **looks)


def _line(curve: Curve) -> dict[str, Any]:
    """How a curve looks, in the plot and beside its name."""
    look = curve.look
    # Hollow, and not filled with white: a page may be dark.
    face, edge = ("none", 1.5) if look.hollow else (look.colour, 0.6)
    size = (9 if curve.stands_out else 7) + 2 * (look.marker == "*")
    return {
        "color": look.colour, "linewidth": BOLD if curve.stands_out else THIN, "marker": look.marker,
        "linestyle": "--" if look.hollow else "-", "markersize": size,
        "markerfacecolor": face, "markeredgecolor": look.colour, "markeredgewidth": edge,
    }  # fmt: skip


def list_names(figure: Figure, curves: Sequence[Curve], place: Place, columns: int = 1, size: float = 9) -> None:
    """The names with their looks, the highest curve first, and last the runs without a cache. No line leads from a
    name to its curve: it would cross others."""
    order = sorted(curves, key=lambda curve: max(y for _, y in curve.line), reverse=True)
    handles = [Line2D([], [], label=plain(curve.name), **_line(curve)) for curve in order]
    handles.append(Line2D([], [], color=GREY, linewidth=6, alpha=0.55, label=FEWER_LABEL))
    names = figure.legend(
        handles=handles, loc=place, ncols=columns, fontsize=size, frameon=False, labelcolor=DARK,
        handlelength=2.8,
    )  # fmt: skip
    for text, curve in zip(names.get_texts(), order, strict=False):
        text.set_fontweight("bold" if curve.stands_out else "normal")


def _span(values: Sequence[float]) -> float:
    return max(values) / min(values)


def _leave_out_the_far(axes: Axes, points: Sequence[Point]) -> None:
    """Limits within which no point far from all others leaves these no room."""
    xs, ys = (np.array(values) for values in zip(*points, strict=True))
    for values, limit in ((xs, axes.set_xlim), (np.log(ys) if axes.get_yscale() == "log" else ys, axes.set_ylim)):
        near = values[within(values)]
        if len(near) < len(values):
            # Scores that are all alike have no span.
            margin = ROOM * (near.max() - near.min() or abs(near.max()) or 1.0)
            low, high = near.min() - margin, near.max() + margin
            logarithmic = limit == axes.set_ylim and axes.get_yscale() == "log"
            limit(*(np.exp([low, high]) if logarithmic else (low, high)))


def within(values: np.ndarray) -> np.ndarray:
    """Which of the values (n,) are not far from all others: a mask (n,)."""
    if len(values) < LEAST:
        return np.ones(len(values), dtype=bool)
    low, high = np.quantile(values, (0.25, 0.75))
    reach = FENCE * (high - low)
    return (values >= low - reach) & (values <= high + reach)


def _mark_the_far(axes: Axes, curve: Curve) -> None:
    """A point beyond the limits stands at the edge, with its figures."""
    (left, right), (low, high) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
    for x, y in (*curve.line, *curve.others):
        place = (min(max(x, left), right), min(max(y, low), high))
        if place == (x, y):
            continue
        axes.plot(*place, zorder=6, clip_on=False, **(_line(curve) | {"linestyle": "none"}))
        beside = (-8, 0) if x > right else (8, 0)
        axes.annotate(
            f"{y:.3g} at {x:.3g}×", place, beside, textcoords="offset points", va="center", fontsize=7, color=DARK,
            ha="right" if x > right else "left", annotation_clip=False,
        )  # fmt: skip
