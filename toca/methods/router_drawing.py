"""A router as a picture: r over steps and layers."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np

from ..files.figures import figure_format, plain, save_figure

MODULES = {
    "self_attn": "self-attention",
    "cross_attn": "cross-attention",
    "ff": "feed-forward",
    "ff_context": "feed-forward of the text",
    "block": "parallel block",
}


def draw_routers(routers: Sequence[Any], threshold: float, path: str | PathLike) -> None:
    """Write a column for each `Router`, with a panel a module; a dot where a site is reused. Raises as its `draw`."""
    from matplotlib.figure import Figure

    figure_format(path)
    named = [list(dict.fromkeys(module for _, module, _ in router.model.sites)) for router in routers]
    rows = max(map(len, named))
    figure = Figure(figsize=(5.2 * len(routers), 1.5 * rows + 0.9), layout="constrained", dpi=110)
    axes = figure.subplots(rows, len(routers), squeeze=False, sharex="col")
    for column, (router, modules) in enumerate(zip(routers, named, strict=True)):
        for row, module in enumerate(modules):
            image = _panel(axes[row, column], router, module, threshold)
            axes[row, column].set_title(MODULES.get(module, module), loc="left", fontsize=9)
        for axis in axes[len(modules) :, column]:
            axis.set_axis_off()
        title = f"{router.training.get('model', router.model.family)}, {router.recipe}"
        axes[0, column].set_title(plain(title), loc="right", fontsize=11, fontweight="bold")
        axes[len(modules) - 1, column].set_xlabel("step, in the order of sampling")
        axes[len(modules) - 1, column].tick_params(labelbottom=True)
    figure.colorbar(image, ax=axes, label=f"r (grey: always full)\ndot: r at most {threshold:g}, reused", pad=0.01)
    save_figure(figure, path)


def _panel(axis: Any, router: Any, module: str, threshold: float) -> Any:
    columns = [i for i, (_, name, _) in enumerate(router.model.sites) if name == module]
    nothing = [np.nan] * len(columns)
    scores = np.array([nothing if row is None else [row[i] for i in columns] for row in router.scores]).T
    axis.set_facecolor("lightgrey")
    image = axis.imshow(scores, aspect="auto", cmap="YlGnBu", vmin=0, vmax=1, interpolation="nearest")
    layers, steps = np.nonzero(scores <= threshold)
    axis.plot(steps, layers, ".", color="black", markersize=3)
    axis.set_yticks(range(len(columns)), [router.model.sites[i][0] for i in columns])
    axis.set_xticks(range(0, len(router.scores), max(1, len(router.scores) // 10)))
    axis.set_ylabel("layer")
    axis.tick_params(labelsize=7)
    return image
