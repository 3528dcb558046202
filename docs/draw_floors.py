"""Draws the floors of the house from its imports: `python docs/draw_floors.py`, from anywhere.

Every room is a box, and every lane the imports of one room: it comes down from those that import it, with how often at
each, and ends in an arrow at its box. A lane that points up is drawn in red.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.floors import View, evaluation, house  # noqa: E402

WIDTH, DPI = 12.0, 100
# In inches: boxes on the left, lanes on the right of them.
BOX, FIRST_LANE, MARGIN, GAP = 5.4, 5.85, 0.15, 0.16
LINE, NAME = 0.165, 0.3
COLOURS = ("#283593", "#2e7d32", "#6a1b9a", "#8d5a00", "#00695c", "#5d4037", "#0277bd", "#558b2f", "#37474f")
UP = "#d50000"


MOST_NAMES = 20
"""Files of a folder that are named one by one."""


def draw(view: View, title: str, path: Path) -> None:
    """Write the picture of a view, with the view itself inside, by which a test tells whether it is up to date."""
    texts = {room: (_about(view.about[room]), _listed(names)) for room, names in view.files.items()}
    heights = {room: NAME + LINE * (len(about) + len(files)) + 0.06 for room, (about, files) in texts.items()}
    height = sum(heights.values()) + GAP * len(heights) + 0.75
    figure = plt.figure(figsize=(WIDTH, height), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, height))
    axes.set_axis_off()
    axes.text(MARGIN, height - 0.3, title, fontsize=14, fontweight="bold", va="center")
    tops, top = {}, height - 0.65
    for room in view.files:
        tops[room], top = top, top - heights[room] - GAP
    targets = [room for room in view.files if any(pair[1] == room for pair in view.counts)]
    step = (WIDTH - FIRST_LANE - 3 * MARGIN) / max(1, len(targets) - 1)
    lanes = {room: FIRST_LANE + step * i for i, room in enumerate(targets)}
    colours = {room: COLOURS[i % len(COLOURS)] for i, room in enumerate(view.files)}
    # An import leaves its box below the arrow that comes in.
    leaves = {room: tops[room] - min(0.7 * heights[room], NAME) for room in view.files}
    enters = {room: tops[room] - 0.1 for room in view.files}
    for room in view.files:
        _draw_leaving(axes, room, view, lanes, leaves)
    for room in targets:
        _draw_lane(axes, room, view, lanes[room], leaves, enters, colours[room])
    for room, (about, files) in texts.items():
        _draw_box(axes, room, about, files, tops[room], heights[room], colours[room])
    figure.savefig(path, dpi=DPI, metadata={"Description": as_text(view), "Software": None})
    plt.close(figure)


def as_text(view: View) -> str:
    """A view as JSON."""
    drawn = [[*pair, count] for pair, count in sorted(view.counts.items())]
    return json.dumps({"files": view.files, "imports": drawn})


def _about(text: str) -> list[str]:
    return textwrap.wrap(text.replace("`", ""), 84)


def _listed(names: list[str]) -> list[str]:
    """The names of a room's files in lines; those of a folder in it stand together behind its name, or are counted
    where they are many."""
    inner: dict[str, list[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        inner.setdefault(folder if file else "", []).append(file or name)
    words = inner.pop("", [])
    for folder, files in inner.items():
        words.append(f"{folder}/({' '.join(files) if len(files) <= MOST_NAMES else f'{len(files)} files'})")
    return textwrap.wrap("  ".join(words), 84)


def _draw_box(
    axes: Axes, room: str, about: list[str], files: list[str], top: float, height: float, colour: str
) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (MARGIN, top - height), BOX - MARGIN, height, boxstyle="round,pad=0,rounding_size=0.06",
            facecolor="#fafafa", edgecolor=colour, linewidth=1.6, zorder=5,
        )
    )  # fmt: skip
    left, y = MARGIN + 0.1, top - 0.16
    name = room if room.endswith(".py") else f"{room}/"
    axes.text(left, y, name, fontsize=10.5, fontweight="bold", va="center", color=colour, zorder=6)
    for i, line in enumerate([*about, *files]):
        shade = "#212121" if i < len(about) else "#607d8b"
        axes.text(left, top - NAME - LINE * (i + 0.4), line, fontsize=8, va="center", color=shade, zorder=6)


def _draw_leaving(axes: Axes, room: str, view: View, lanes: dict[str, float], leaves: dict[str, float]) -> None:
    ends = [lanes[target] for source, target in view.counts if source == room]
    if ends:
        axes.plot([BOX, max(ends)], [leaves[room]] * 2, color="#cfd8dc", linewidth=1, zorder=1)


def _draw_lane(
    axes: Axes, room: str, view: View, x: float, leaves: dict[str, float], enters: dict[str, float], colour: str
) -> None:
    joins = {source: count for (source, target), count in view.counts.items() if target == room}
    y = enters[room]
    for down, shade in ((True, colour), (False, UP)):
        ends = [leaves[source] for source in joins if (leaves[source] > y) == down]
        if ends:
            axes.plot([x, x], [max([*ends, y]), min([*ends, y])], color=shade, linewidth=1.4, zorder=2)
    axes.annotate(
        "", (BOX, y), (x, y), zorder=2,
        arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip
    for source, count in joins.items():
        shade = colour if leaves[source] > y else UP
        style = {"boxstyle": "circle,pad=0.18", "facecolor": shade, "edgecolor": "white"}
        axes.text(x, leaves[source], str(count), fontsize=7.5, ha="center", va="center", color="white",
                  bbox=style, zorder=4)  # fmt: skip


if __name__ == "__main__":
    here = Path(__file__).parent
    draw(house(), "The house: imports point down", here / "house.png")
    draw(evaluation(), "The evaluation, on the top floor", here / "evaluation.png")
