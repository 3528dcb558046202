"""Names beside the points of a plot, where there is room for them: over no point, no line and no other name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toca.eval.findings.results import Results
from toca.eval.report.curves import Curve, Point, Quantity
from toca.eval.report.drawing import DARK
from toca.files.figures import plain

SIDES = ((9, 0, "left", "center"), (-9, 0, "right", "center"), (0, 8, "center", "bottom"), (0, -8, "center", "top"))
"""Where a name may stand: points off, and how it is aligned."""
MARKER = 5.0
"""Points from the middle of a marker to its edge."""
ROOM = 4.0
"""Pixels that stay free around a name, and from one obstacle on a line to the next."""


def name_points(figure: Figure, axes: Axes, results: Results, quantity: Quantity, curves: Sequence[Curve]) -> None:
    """Write the name of each method beside one of its points, the fastest first, unless something is there. All of
    them stand in the list of names anyway."""
    if not curves:
        return
    figure.draw_without_rendering()
    uncached = [(row.speedup, value) for row in results.uncached if (value := quantity.of(row)) is not None]
    lines = [curve.line for curve in curves] + [[point] for curve in curves for point in curve.others] + [uncached]
    taken = np.concatenate([_along(axes, line, figure.dpi) for line in lines if line])
    for curve in sorted(curves, key=lambda each: (not each.stands_out, len(each.name))):
        box = _write(axes, curve, taken)
        if box is not None:
            taken = np.concatenate([taken, _filled(box)])


def _write(axes: Axes, curve: Curve, taken: np.ndarray) -> Any | None:
    """Write one name; returns its box in pixels, `None` where there is no room."""
    inside = axes.get_window_extent()
    for point in reversed(curve.line):
        for right, up, horizontal, vertical in SIDES:
            text = axes.annotate(
                plain(curve.name), point, (right, up), textcoords="offset points", ha=horizontal, va=vertical,
                fontsize=8, color=DARK, fontweight="bold" if curve.stands_out else "normal", zorder=7,
            )  # fmt: skip
            box = text.get_window_extent().padded(ROOM / 2)
            free = inside.containsx(box.x0) and inside.containsx(box.x1) and inside.containsy(box.y0)
            free = free and inside.containsy(box.y1) and not _holds(box, taken).any()
            if free:
                return box
            text.remove()
    return None


def _along(axes: Axes, line: Sequence[Point], dpi: float) -> np.ndarray:
    """Pixels (n, 2) along a line of one point or more, and around its markers."""
    corners = axes.transData.transform(np.array(line))
    turns = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    around = MARKER * dpi / 72 * np.stack([np.cos(turns), np.sin(turns)], -1)
    parts = [corners, (corners[:, None] + around).reshape(-1, 2)]
    for first, second in zip(corners, corners[1:], strict=False):
        count = max(2, int(np.hypot(*(second - first)) / ROOM))
        parts.append(np.linspace(first, second, count))
    return np.concatenate(parts)


def _holds(box: Any, points: np.ndarray) -> np.ndarray:
    xs, ys = points.T
    return (xs > box.x0) & (xs < box.x1) & (ys > box.y0) & (ys < box.y1)


def _filled(box: Any) -> np.ndarray:
    """Points (n, 2) in a box, as near to each other as those of a line."""
    xs, ys = (np.arange(low, high + ROOM, ROOM) for low, high in ((box.x0, box.x1), (box.y0, box.y1)))
    return np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
