"""A plan as a picture: steps to the right, sites downwards, colour by what each site does."""

from __future__ import annotations

import textwrap
from os import PathLike
from typing import TYPE_CHECKING

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

TITLES = {
    "self_attn": "self-attention",
    "cross_attn": "cross-attention",
    "ff": "feed-forward",
    "ff_context": "text feed-forward",
    "block": "single block",
}


def draw_plan(plan: PlanTable, path: str | PathLike, speedup: str) -> None:
    """Write the heat map of a plan, one panel a module and stack, as a PNG, PDF or SVG.

    Args:
        plan (`PlanTable`): The plan.
        path (`str` or `PathLike`): Of the file.
        speedup (`str`): By FLOPs, as its title says it.

    Raises:
        ValueError: If the file's name ends otherwise.
        OSError: If it cannot be written.
    """
    from matplotlib.colors import ListedColormap, PowerNorm
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure_format(path)
    panels = _panels(plan)
    heights = [max(3, len(rows)) for rows in panels.values()]
    width = min(18.0, 3.2 + 0.2 * plan.num_inference_steps)
    row_height = min(0.13, 8 / sum(heights))
    size = (width, 1.6 + row_height * sum(heights) + 0.35 * len(panels))
    figure = Figure(figsize=size, layout="constrained", dpi=130)
    # Published shares lie mostly below a third; the root tells them apart.
    scale = PowerNorm(0.5, vmin=0, vmax=1)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (title, rows) in zip(axes, panels.items(), strict=True):
        cells = np.array(rows)
        image = axis.imshow(cells, aspect="auto", cmap="YlGnBu", norm=scale, interpolation="nearest")
        filled = np.ma.masked_greater_equal(cells, 0)
        axis.imshow(filled, aspect="auto", cmap=ListedColormap(list(FILLED.values())), vmin=-2, vmax=-1)
        axis.set_ylabel("layer")
        axis.set_title(title, loc="left", fontsize=9)
        axis.set_yticks(sorted({0, len(rows) - 1}))
        axis.set_xticks(np.arange(-0.5, plan.num_inference_steps), minor=True)
        axis.grid(which="minor", axis="x", color="white", linewidth=0.4)
        axis.tick_params(which="minor", length=0)
    ticks = range(0, plan.num_inference_steps, max(1, plan.num_inference_steps // 25))
    axes[-1].set_xticks(list(ticks))
    axes[-1].set_xlabel("step, in the order of sampling")
    figure.colorbar(image, ax=axes, label="share of tokens recomputed", pad=0.01)
    _explain(figure, panels, [Patch(color=colour, label=label) for label, colour in FILLED.items()])
    title = f"{plan.method} on {plan.layout.family}: {speedup} fewer FLOPs"
    letters = plan.steps if plan.num_inference_steps <= 100 else f"{plan.full_steps} of {len(plan.steps)} steps full"
    made = "" if plan.origin is None else "\n" + textwrap.fill(str(plan.origin), int(width / CHARACTER))
    figure.suptitle(plain(f"{title}\n{letters}{made}"), fontsize=10, family="monospace")
    save_figure(figure, path)


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
