"""A front as a picture: quality over speed-up, with fewer steps and methods that decide on line beside it."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from ..files.figures import figure_format, plain, save_figure
from .front_parts import Entry, Fewer, Rule, best_of
from .origin import IDENTICAL

LINE, BESIDE, CHOSEN = "#0b5c8c", "#8a8a8a", "#c2410c"
OTHERS = ("#2f7d4f", "#8e5ea2", "#b8860b", "#4f6d7a", "#a23e48")


def draw_front(
    path: str | PathLike,
    title: str,
    entries: Sequence[Entry],
    fewer: Sequence[Fewer],
    rules: Sequence[Rule],
    chosen: Entry | None,
) -> None:
    """Write the picture as a PNG, PDF or SVG. Plans whose pictures are those of the full run have no place on it.

    Args:
        path (`str` or `PathLike`): Of the file.
        title (`str`): Its first line.
        entries (`Sequence[Entry]`): The plans, from slow to fast; those that another one beats in both are dots.
        fewer (`Sequence[Fewer]`): What fewer steps do.
        rules (`Sequence[Rule]`): What methods do that decide while the model runs.
        chosen (`Entry`, *optional*): One to mark.

    Raises:
        ValueError: If the file's name ends otherwise.
        OSError: If it cannot be written.
    """
    from matplotlib.figure import Figure

    figure_format(path)
    figure = Figure(figsize=(7.2, 4.6), layout="constrained", dpi=130)
    axis = figure.subplots()
    _plans(axis, [entry for entry in entries if entry.psnr < IDENTICAL])
    beside = [
        (f"fewer steps ({', '.join(str(each.num_inference_steps) for each in fewer)})", _points(fewer), "--", BESIDE)
    ]
    beside += [
        (rule.method, sorted((speedup, psnr) for _, speedup, psnr in rule.points if psnr < IDENTICAL), ":", colour)
        for rule, colour in zip(rules, OTHERS * len(rules), strict=False)
    ]
    for label, points, style, colour in beside:
        if points:
            axis.plot(*zip(*points, strict=True), style, marker="s", markersize=4, color=colour, label=plain(label))
    if chosen is not None and chosen.psnr < IDENTICAL:
        _mark(axis, chosen)
    axis.set_xlabel("speed-up of the denoising loop")
    axis.set_ylabel("PSNR to the full run, dB")
    axis.grid(color="#dddddd", linewidth=0.6)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8, frameon=False)
    picked = "" if chosen is None else f"\n{_letters(chosen)}  {chosen.speedup:.2f}x at {chosen.psnr_text}"
    figure.suptitle(plain(title + picked), fontsize=9, family="monospace")
    save_figure(figure, path)


def _plans(axis: Any, entries: Sequence[Entry]) -> None:
    """The best for each speed as a line with intervals, the others as dots; hollow where speed was not measured."""
    best = best_of(entries)
    others = [entry for entry in entries if entry not in best]
    if best:
        speed = [entry.speedup for entry in best]
        low, high = [entry.psnr_low for entry in best], [entry.psnr_high for entry in best]
        axis.fill_between(speed, low, high, color=LINE, alpha=0.15, linewidth=0)
        axis.plot(speed, [entry.psnr for entry in best], color=LINE, label="tuned plans, interval of 95 %")
    for entry in best:
        face = LINE if entry.measured else "white"
        axis.plot(entry.speedup, entry.psnr, "o", markersize=4, color=LINE, markerfacecolor=face)
    if others:
        axis.plot([e.speedup for e in others], [e.psnr for e in others], ".", color=LINE, alpha=0.35, markersize=4)


def _points(fewer: Sequence[Fewer]) -> list[tuple[float, float]]:
    return sorted((each.speedup, each.psnr) for each in fewer if each.psnr < IDENTICAL)


def _mark(axis: Any, chosen: Entry) -> None:
    axis.plot(
        chosen.speedup, chosen.psnr, "o", markersize=11, color=CHOSEN, markerfacecolor="none", markeredgewidth=1.8
    )
    text = f"{chosen.speedup:.2f}x, {chosen.psnr:.1f} dB"
    axis.annotate(text, (chosen.speedup, chosen.psnr), (8, 8), textcoords="offset points", color=CHOSEN, fontsize=9)


def _letters(entry: Entry) -> str:
    return entry.plan.steps if entry.num_inference_steps <= 60 else f"{entry.full_steps} full steps"
