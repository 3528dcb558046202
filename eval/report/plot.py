"""The plot as a file: speed against fidelity, every method, and what fewer steps reach."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from toca.eval.findings.results import Results
from toca.eval.metrics.fidelity import PSNR
from toca.eval.report.curves import fidelity, find_curves
from toca.eval.report.drawing import DARK, draw_axes, list_names
from toca.eval.report.names import name_points
from toca.files.figures import plain

ROW = 0.22
"""Inches of a name in the list."""


def draw(results: Results, path: str | Path) -> None:
    """Write the PNG: speed-up of the denoising loop to the right, mean PSNR upwards.

    A line joins the settings of a method that no other setting of it beats; the others are faint marks.
    """
    quantity = fidelity(PSNR, results.metrics[PSNR])
    curves = find_curves(results, quantity)
    figure = Figure(figsize=(11, max(6.5, ROW * len(curves) + 1.5)), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    draw_axes(axes, results, quantity, curves)
    steps = results.config["config"]["num_inference_steps"]
    title = plain(f"{results.model}: {steps} steps, {results.prompts} prompts")
    axes.set_title(title, loc="left", color=DARK, fontsize=12)
    list_names(figure, curves, "outside right upper")
    name_points(figure, axes, results, quantity, curves)
    with matplotlib.rc_context({"savefig.facecolor": "white"}):
        figure.savefig(path)
