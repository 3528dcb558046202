"""What `eval/results` holds of a method."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from toca.eval.findings.results import Row
from toca.eval.report import Report, read_report
from toca.eval.report.columns import interval_cell, mib

RESULTS = Path(__file__).parents[2] / "eval" / "results"
HEADINGS = ("model", "setting", "steps", "wall speed-up", "FLOPs", "PSNR, dB", "over fewer steps, dB", "cache, MiB")


@functools.cache
def reports() -> tuple[Report, ...]:
    """The recorded runs of the embedded pipelines."""
    return tuple(read_report(path) for path in sorted(RESULTS.glob("*.json")))


def table(name: str) -> str:
    """The rows of a method as Markdown; empty where none was measured."""
    lines = list(_lines(name))
    if not lines:
        return ""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (HEADINGS, ["---"] * len(HEADINGS), *lines))


def _lines(name: str) -> Iterator[list[str]]:
    for report in reports():
        for row in report.results.methods:
            if row.recipe is not None and row.recipe.base.partition("/")[0] == name:
                yield [report.results.model, f"`{row.recipe.argument}`", f"`{row.steps}`", *_figures(row)]


def _figures(row: Row) -> list[str]:
    gain = row.at_latency.gains.get("psnr") if row.at_latency else None
    return [
        f"{row.speedup:.2f}",
        f"{row.flops_speedup:.2f}",
        interval_cell(row.fidelity["psnr"], ".1f").line,
        interval_cell(gain, "+.1f").line if gain else "–",
        mib(row.cache_bytes),
    ]
