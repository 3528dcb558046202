"""The table of the README, from what a run has written.

`python -m toca.eval.report.short_table eval/results/emoji.json` prints it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from toca.eval.findings.results import Row
from toca.eval.metrics.clip_score import CLIP_SCORE
from toca.eval.metrics.fidelity import PSNR
from toca.eval.report import Report, read_report
from toca.eval.report.columns import NONE, interval_cell, mib

OF_PSNR = "PSNR, dB"
HEADINGS = (
    "", "wall speed-up", "end to end", "FLOPs", OF_PSNR, "gain over fewer steps, dB", "CLIP score, to full",
    "cache, MiB",
)  # fmt: skip


def short_table(report: Report, steps: Sequence[int]) -> str:
    """The methods, slowest first, and the uncached runs with some numbers of steps, as Markdown."""
    methods = sorted(report.results.methods, key=lambda row: row.speedup)
    fewer = [row for row in reversed(report.results.uncached) if row.num_inference_steps in steps]
    lines = [_line(report, row, row.name) for row in methods]
    lines += [_line(report, row, f"*no cache, {row.num_inference_steps} steps*") for row in fewer]
    tag = report.results.metrics[PSNR].tag
    headings = [f"{heading}, {tag}" if tag and heading == OF_PSNR else heading for heading in HEADINGS]
    table = (headings, ["---"] * len(HEADINGS), *lines)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)


def _line(report: Report, row: Row, name: str) -> list[str]:
    wall, first, third = row.loop_speedup
    gain = row.at_latency.gains.get(PSNR) if row.at_latency else None
    than = f" ({row.at_latency.text})" if row.at_latency and gain else ""
    return [
        name,
        f"{wall:.2f} ({first:.2f}-{third:.2f})",
        f"{row.total_speedup[0]:.2f}",
        f"{row.flops_speedup:.2f}",
        interval_cell(row.fidelity[PSNR], ".1f").line,
        (interval_cell(gain, "+.1f").line if gain else NONE) + than,
        _to_full(report, row),
        mib(row.cache_bytes),
    ]


def _to_full(report: Report, row: Row) -> str:
    scores = (column.scores.get(row.name) for column in report.scores if column.label == CLIP_SCORE)
    difference = next((score.difference for score in scores if score is not None), None)
    return NONE if difference is None else interval_cell(difference, "+.1f").line


def main(
    path: Annotated[Path, typer.Argument(help="The JSON file of a run.")],
    steps: Annotated[str, typer.Option(help="Numbers of steps of the uncached runs to show.")] = "13,10,8,7",
) -> None:
    """Print the table."""
    typer.echo(short_table(read_report(path), [int(number) for number in steps.split(",")]))


if __name__ == "__main__":
    typer.run(main)
