"""The plot: speed against fidelity, every method, and what fewer steps reach."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toca.eval.findings.results import Results, Row
from toca.eval.metrics.fidelity import PSNR
from toca.eval.variants import FEWER_STEPS
from toca.files.figures import plain

GREY, DARK = "#9a9a9a", "#333333"
FEWER_LABEL, FEWER_COLOUR = f"{FEWER_STEPS}, no cache", "#6f6f6f"
# Dark enough to be read as text on white; neighbours in the list are far apart in hue.
COLOURS = "#1f6fb4 #d1495b #2a8c4a #8a4fbf #c46a00 #00848f #a3195b #5c6b00 #7a4a2b #3b3fb6".split()
MARKERS = "osD^vPX"
ROW = 0.25  # inches from one label to the next
LEADER = {"arrowstyle": "-", "alpha": 0.4, "linewidth": 0.8, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 4}
TUNED, BOLD = "tuned", 3.2
"""Plans that a search found for a budget stand out from methods: the method's name, and how wide their line is."""
MARGIN = 1.2  # inches of the figure above and below the axes
LABELS_AT = 1.03  # where the labels begin, in widths of the axes


def draw(results: Results, path: str | Path) -> None:
    """Write the PNG: speed-up of the denoising loop to the right, mean PSNR upwards, each method labelled beside it.

    A line joins the settings of a method that no other setting of it beats; the others are faint marks.
    """
    groups = {group: _points(results.methods, group) for group in dict.fromkeys(row.group for row in results.methods)}
    groups = {group: points for group, points in groups.items() if points}
    found = searched(results.methods)
    figure = Figure(figsize=(11, max(6.5, ROW * len(groups) + 1.5)), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    labels = draw_fewer_steps(axes, results.uncached, lambda row: row.psnr)
    styles = ((colour, marker) for marker, colour in itertools.product(MARKERS, COLOURS))
    for (group, points), (colour, marker) in zip(groups.items(), itertools.cycle(styles)):
        labels.append((group, colour, _draw_group(axes, points, colour, marker, group in found)))
    _dress(axes, results)
    axes.autoscale_view()
    name_beside(axes, labels, figure.get_figheight() - MARGIN, found)
    with matplotlib.rc_context({"savefig.facecolor": "white"}):
        figure.savefig(path)


Point = tuple[float, float]
Label = tuple[str, str, Point]


def _points(rows: Sequence[Row], group: str) -> list[Point]:
    """(speed-up, PSNR) of a group's settings that have a PSNR and skipped something."""
    return [(row.speedup, row.psnr) for row in rows if row.group == group and row.psnr and not row.skipped_nothing]


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in both coordinates, from left to right."""
    best: list[Point] = []
    for point in sorted(points, reverse=True):
        if not best or point[1] > best[-1][1]:
            best.append(point)
    return best[::-1]


def draw_fewer_steps(axes: Axes, rows: Sequence[Row], value_of: Callable[[Row], float | None]) -> list[Label]:
    """The runs without a cache, in the order of their steps; returns their label, if any has a value.

    What is no faster for fewer steps is noise, which must be seen as such.
    """
    points = [(row.speedup, value, row.num_inference_steps) for row in rows if (value := value_of(row)) is not None]
    if not points:
        return []
    xs, ys, _ = zip(*points, strict=True)
    axes.plot(xs, ys, color=GREY, linewidth=7, alpha=0.55, solid_capstyle="round", zorder=1)
    for x, y, count in points:
        axes.annotate(f"{count}", (x, y), ha="center", va="center", fontsize=6.5, color=DARK, zorder=2)
    return [(FEWER_LABEL, FEWER_COLOUR, max(zip(xs, ys, strict=True)))]


def searched(rows: Sequence[Row]) -> set[str]:
    """The groups that are plans which a search found for a budget."""
    return {row.group for row in rows if row.recipe and row.recipe.base.partition("/")[0] == TUNED}


def _draw_group(axes: Axes, points: list[Point], colour: str, marker: str, stands_out: bool) -> Point:
    """Draw a method; returns the point that its label belongs to, the fastest on the line."""
    best = frontier(points)
    others = [point for point in points if point not in best]
    xs, ys = zip(*best, strict=True)
    width, size, above = (BOLD, 80, 2) if stands_out else (1.6, 40, 0)
    axes.plot(xs, ys, color=colour, linewidth=width, zorder=3 + above)
    axes.scatter(xs, ys, color=colour, marker=marker, s=size, edgecolors="white", linewidths=0.6, zorder=4 + above)
    if others:
        xs, ys = zip(*others, strict=True)
        axes.scatter(xs, ys, color=colour, marker=marker, s=16, alpha=0.3, linewidths=0, zorder=2)
    return best[-1]


def _dress(axes: Axes, results: Results) -> None:
    config = results.config
    steps = config["config"]["num_inference_steps"]
    title = plain(f"{results.model}: {steps} steps, {results.prompts} prompts")
    axes.set_title(title, loc="left", color=DARK, fontsize=12)
    axes.set_xlabel("speed-up of the denoising loop, by the clock", color=DARK)
    tag = results.metrics[PSNR].tag
    axes.set_ylabel(f"PSNR against the full run, dB{f' ({tag})' if tag else ''}", color=DARK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#ececec", linewidth=0.8)
    axes.set_axisbelow(True)


def name_beside(axes: Axes, labels: list[Label], height: float, bold: Collection[str] = ()) -> None:
    """The names in a column at the right of axes of `height` inches, each with a thin line to its point, none over
    another, and some of them in bold."""
    to_axes = (axes.transScale + axes.transLimits).transform
    labels = sorted(labels, key=lambda label: float(to_axes(label[2])[1]), reverse=True)
    gap = min(ROW / height, 1 / max(1, len(labels) - 1))
    heights = spread([float(to_axes(point)[1]) for _, _, point in labels], gap)
    for (text, colour, point), place in zip(labels, heights, strict=True):
        axes.annotate(
            plain(text),
            point,
            xytext=(LABELS_AT, place),
            textcoords="axes fraction",
            color=colour,
            fontsize=9,
            fontweight="bold" if text in bold else "normal",
            va="center",
            annotation_clip=False,
            arrowprops={**LEADER, "color": colour},
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move heights, given from the top down, as little as keeps them `gap` apart and, if there is room, in 0..1."""
    placed: list[float] = []
    for height in heights:
        placed.append(min(height, placed[-1] - gap) if placed else min(height, 1.0))
    lowest = 0.0
    for i in range(len(placed) - 1, -1, -1):
        placed[i] = max(placed[i], lowest)
        lowest = placed[i] + gap
    return placed
