"""What a calibration looks like: curves over the steps, and what a method makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING

from ..files.figures import plain, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Chart:
    """One panel.

    Args:
        title (`str`): What is drawn.
        lines (`dict[str, list[float]]`): Label -> a value a step; the steps that have none are at the beginning.
        filled (`tuple[bool, ...]`): Whether each step is filled rather than computed.
        limit (`tuple[str, float]`, *optional*): Name and value of the threshold.
        accepted (`dict[int, float]`, *optional*): Step -> the value that was accepted there.
    """

    title: str
    lines: Mapping[str, Sequence[float]]
    filled: Sequence[bool]
    limit: tuple[str, float] | None = None
    accepted: Mapping[int, float] = field(default_factory=dict)


def draw_charts(charts: Sequence[Chart], title: str, path: str | PathLike) -> None:
    """Write the panels as a PNG, PDF or SVG, one below the other; it appears whole or not at all."""
    from matplotlib.figure import Figure

    steps = len(charts[0].filled)
    size = (min(16.0, 4.0 + 0.22 * steps), 0.8 + 2.1 * len(charts))
    figure = Figure(figsize=size, layout="constrained", dpi=130)
    axes = figure.subplots(len(charts), 1, sharex=True, squeeze=False)[:, 0]
    for axis, chart in zip(axes, charts, strict=True):
        _draw(axis, chart)
    axes[-1].set_xlabel("step, in the order of sampling (grey: filled, white: computed)", fontsize=8)
    axes[-1].set_xticks(range(0, steps, max(1, steps // 20)))
    figure.suptitle(plain(title), fontsize=10, family="monospace")
    save_figure(figure, path)


def _draw(axis: Axes, chart: Chart) -> None:
    for step, filled in enumerate(chart.filled):
        if filled:
            axis.axvspan(step - 0.5, step + 0.5, color="0.9", linewidth=0)
    for label, values in chart.lines.items():
        first = len(chart.filled) - len(values)
        axis.plot(range(first, len(chart.filled)), values, marker=".", markersize=4, linewidth=1, label=plain(label))
    if chart.limit is not None:
        name, value = chart.limit
        axis.axhline(value, color="crimson", linewidth=1, linestyle="--", label=plain(f"{name} {value:g}"))
    if chart.accepted:
        axis.plot(*zip(*chart.accepted.items(), strict=True), "o", color="black", markersize=4, label="accepted")
    axis.set_xlim(-0.5, len(chart.filled) - 0.5)
    axis.set_title(plain(chart.title), loc="left", fontsize=9)
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    axis.tick_params(labelsize=7)
