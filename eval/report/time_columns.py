"""The columns of "Where the time goes", which Markdown and the page share: time part by part, FLOPs and memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

from toca.eval.findings.results import PartCost, Row
from toca.eval.report.columns import NONE, Cell, Column, cache_column
from toca.eval.timing.parts import DENOISER, TEXT_ENCODER, TOTAL, VAE_DECODE

ABOUT = (
    "Seconds are of one batch: the median of all rounds, with quartiles and the 90th percentile. The denoiser's run "
    "from its first call to the end of its last, with the scheduler's steps between them; what is in no part is the "
    "rest of the pipeline's work. The first run of the stage counts in none of them: beside it stands how much longer "
    "it took than the median one, for compiling if something is compiled, else for loading; what variants share, the "
    "first of them pays. FLOPs are counted by torch's FlopCounterMode in eager mode, two a multiply-add. Peaks of "
    "memory are of one run, with all that the process held before. Time, FLOPs and memory come from different runs."
)
SECONDS, WORK, MEMORY = "Seconds a batch", "Work", "Memory"
_PEAKS = {
    "allocated": "most that tensors took of the GPU's memory",
    "reserved": "most that torch's allocator took of the GPU's memory",
    "resident": "most that the process took of the machine's memory",
}


def time_columns(rows: Sequence[Row]) -> list[Column]:
    """Those that one of the rows has a figure for."""
    parts = [name for name in (TEXT_ENCODER, DENOISER, VAE_DECODE, TOTAL) if any(name in row.parts for row in rows)]
    peaks = [name for name in _PEAKS if any(getattr(row.peak, name) is not None for row in rows)]
    first = Column(
        "first run", SECONDS, "seconds end to end of the first run of the stage, and how much more", _first_run
    )
    return [*map(_seconds_column, parts), first, *_work_columns(), *map(_peak_column, peaks), cache_column(MEMORY)]


def _seconds_column(name: str) -> Column:
    hint = "median (quartiles, 90th percentile), in seconds"
    return Column(name, SECONDS, hint, lambda row: _seconds(row.parts.get(name)), headline=name in (DENOISER, TOTAL))


def _seconds(part: PartCost | None) -> Cell:
    if part is None:
        return Cell(NONE)
    form = f".{_digits(part.median)}f"
    detail = f"{part.first_quartile:{form}}–{part.third_quartile:{form}},\np90 {part.p90:{form}}"
    return Cell(f"{part.median:{form}}", detail, part.median)


def _first_run(row: Row) -> Cell:
    form = f".{_digits(row.first_run_seconds)}f"
    return Cell(f"{row.first_run_seconds:{form}}", f"+{row.compile_seconds:{form}}", row.first_run_seconds)


def _work_columns() -> list[Column]:
    return [
        Column(
            "denoiser's share", WORK, "its median of the median end to end",
            lambda row: Cell(f"{row.denoiser_share:.1%}", order=row.denoiser_share),
        ),
        Column(
            "denoiser's FLOPs", WORK, "of one batch, counted in eager mode", lambda row: _flops(row.parts[DENOISER])
        ),
    ]  # fmt: skip


def _flops(part: PartCost) -> Cell:
    power = min(max(math.floor(math.log10(part.flops) / 3), 1), 5)
    scaled = part.flops / 1000**power
    return Cell(f"{scaled:.{_digits(scaled)}f} {'KMGTP'[power - 1]}", order=part.flops)


def _peak_column(name: str) -> Column:
    return Column(f"peak {name}, GiB", MEMORY, _PEAKS[name], lambda row: _gib(getattr(row.peak, name)))


def _gib(size: int | None) -> Cell:
    return Cell(NONE) if size is None else Cell(f"{size / 2**30:.2f}", order=size)


def _digits(value: float) -> int:
    """Digits after the point with which a figure has three that count; at most six."""
    return min(max(2 - math.floor(math.log10(value)), 0), 6)
