"""A plan as a picture: steps to the right, sites downwards, colour by what each site does."""

from __future__ import annotations

import textwrap
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files.figures import figure_format, plain, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    from ..axes.actions import Action
    from .table import PlanTable

SKIPPED, FORECAST = -2.0, -1.0
FILLED = {"block left out": "#b9b4c7", "forecast": "#f2a65a"}
"""Colours of what is not a share of tokens, in the order of the values above."""

CHARACTER = 0.09
"""Inches of a letter of the title."""
MARKED = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Shares that the scale has marks for."""

TITLES = {
    "self_attn": "self-attention",
    "cross_attn": "cross-attention",
    "ff": "feed-forward",
    "ff_context": "text feed-forward",
    "block": "single block",
}


def draw_plan(plan: PlanTable, path: str | PathLike, title: str, cost: str) -> None:
    """Write the heat map of a plan, one panel a module and stack, as a PNG, PDF or SVG.

    Ground and text have the colours of matplotlib's style that is on: `matplotlib.style.use("dark_background")` makes
    the picture a dark one.

    Args:
        plan (`PlanTable`): The plan.
        path (`str` or `PathLike`): Of the file.
        title (`str`): What it is a plan of.
        cost (`str`): What it costs.

    Raises:
        ValueError: If the file's name ends otherwise.
        OSError: If it cannot be written.
    """
    from matplotlib import rcParams
    from matplotlib.colors import ListedColormap, PowerNorm
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure_format(path)
    panels = _panels(plan)
    heights = [max(3, len(rows)) for rows in panels.values()]
    width = min(18.0, 3.6 + 0.2 * plan.num_inference_steps)
    row_height = min(0.13, 8 / sum(heights))
    size = (width, 1.9 + row_height * sum(heights) + 0.35 * len(panels))
    figure = Figure(figsize=size, layout="constrained", dpi=130)
    # Published shares lie mostly below a third; the root tells them apart.
    scale = PowerNorm(0.5, vmin=0, vmax=1)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (name, rows) in zip(axes, panels.items(), strict=True):
        cells = np.array(rows)
        image = axis.imshow(cells, aspect="auto", cmap="YlGnBu", norm=scale, interpolation="nearest")
        filled = np.ma.masked_greater_equal(cells, 0)
        axis.imshow(filled, aspect="auto", cmap=ListedColormap(list(FILLED.values())), vmin=-2, vmax=-1)
        axis.set_ylabel("layer")
        axis.set_title(name, loc="left", fontsize=9)
        axis.set_yticks(sorted({0, len(rows) - 1}))
        axis.set_xticks(np.arange(-0.5, plan.num_inference_steps), minor=True)
        axis.grid(which="minor", axis="x", color=rcParams["axes.facecolor"], linewidth=0.6)
        axis.tick_params(which="minor", length=0)
    ticks = range(0, plan.num_inference_steps, max(1, plan.num_inference_steps // 25))
    axes[-1].set_xticks(list(ticks))
    axes[-1].set_xlabel("step, in the order of sampling")
    _mark(figure.colorbar(image, ax=axes, pad=0.01))
    _explain(figure, panels, [Patch(color=colour, label=label) for label, colour in FILLED.items()])
    letters = plan.steps if plan.num_inference_steps <= 100 else f"{plan.full_steps} of {len(plan.steps)} steps full"
    lines = [title, cost, letters, *([] if plan.origin is None else [str(plan.origin)])]
    folded = "\n".join(textwrap.fill(line, int(width / CHARACTER)) for line in lines)
    figure.suptitle(plain(folded), fontsize=10, family="monospace")
    save_figure(figure, path)


def _mark(scale: Any) -> None:
    """What the colours say, in percent."""
    scale.set_ticks(list(MARKED), labels=[f"{share:.0%}" for share in MARKED])
    scale.set_label("tokens computed")


def _explain(figure: Figure, panels: dict[str, list[list[float]]], patches: list[Patch]) -> None:
    """A legend of the colours beside the scale, for those that occur."""
    occurring = {value for rows in panels.values() for row in rows for value in row}
    shown = [patch for patch, value in zip(patches, (SKIPPED, FORECAST), strict=True) if value in occurring]
    if shown:
        figure.legend(handles=shown, loc="outside lower right", ncols=2, fontsize=8, frameon=False)


def _value(action: Action) -> float:
    """What a cell's colour stands for: a share, or one of the colours of `FILLED`."""
    if action.kind == "skip":
        return SKIPPED
    return FORECAST if action.kind == "forecast" else action.fresh_ratio


def _panels(plan: PlanTable) -> dict[str, list[list[float]]]:
    """Title -> one row of values over the steps for each layer."""
    stacks = {site.stack for site in plan.layout.sites}
    panels: dict[str, list[list[float]]] = {}
    for i, site in enumerate(plan.layout.sites):
        title = TITLES.get(site.module, site.module) + (f", {site.stack}" if len(stacks) > 1 else "")
        panels.setdefault(title, []).append([_value(row[i]) for row in plan.table])
    return panels
