"""The table of the page: which columns there are, and what stands in each cell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby

from toca.eval.findings.results import Match, Quartiles, Row
from toca.eval.labels import setting_of
from toca.eval.metrics.fidelity import PSNR
from toca.eval.metrics.metric import Heading
from toca.eval.report.columns import NONE, Cell, Column, cache_column, interval_cell
from toca.eval.report.comma_separated import kind
from toca.eval.report.content import Report
from toca.eval.report.quality_columns import quality_columns
from toca.eval.report.scales import scale_of
from toca.eval.report.time_columns import time_columns

UNCACHED = "no cache,"
SPEED, COST, GAIN = "Speed-up", "Cost", "Gain over fewer steps, dB"
FIDELITY = "Fidelity to the full run"


@dataclass(frozen=True)
class Line:
    """A row as the page shows it: `setting` is what its name says beside its group."""

    group: str
    setting: str
    kind: str
    failed: bool
    cells: list[Cell]


@dataclass(frozen=True)
class Table:
    """The columns and the lines."""

    columns: list[Column]
    lines: list[Line]

    @property
    def groups(self) -> list[tuple[str, list[tuple[int, Column]]]]:
        """Headings over one or more columns, with these and their places."""
        numbered = groupby(enumerate(self.columns), key=lambda pair: pair[1].group)
        return [(name, list(members)) for name, members in numbered]


def make_table(report: Report) -> Table:
    """Every row of a run: the methods in their order, then the runs without a cache."""
    columns = [*_speed_columns(), *_cost_columns(), *_fidelity_columns(report), *_gain_columns(report)]
    columns += quality_columns(report.scores)
    return _assemble(report, columns)


def make_time_table(report: Report) -> Table:
    """Where the time of every row goes; the rows are those of `make_table`."""
    return _assemble(report, time_columns(report.rows))


def _assemble(report: Report, columns: list[Column]) -> Table:
    return Table(columns, [_line(row, columns) for row in report.rows])


def _line(row: Row, columns: list[Column]) -> Line:
    cells = [column.cell(row) for column in columns]
    if kind(row) == "uncached":
        return Line(UNCACHED, row.name, kind(row), row.skipped_nothing, cells)
    return Line(row.group, setting_of(row.name, row.group), kind(row), row.skipped_nothing, cells)


def _speed_columns() -> list[Column]:
    return [
        Column(
            "denoiser", SPEED, "of the denoising loop, by the clock: median (quartiles) of the turns' ratios",
            lambda row: _ratio(row.loop_speedup), headline=True,
        ),
        Column(
            "end to end", SPEED, "from prompts to pictures, by the clock: median (quartiles)",
            lambda row: _ratio(row.total_speedup),
        ),
        Column(
            "FLOPs", SPEED, "the denoiser's FLOPs in the full run over those in this one, counted in eager mode",
            lambda row: _plain(row.flops_speedup),
        ),
        Column(
            "clock / FLOPs", SPEED, "speed-up by the clock over that by FLOPs: 1 where skipped work saves its time",
            lambda row: _plain(row.wall_over_flops),
        ),
    ]  # fmt: skip


def _cost_columns() -> list[Column]:
    return [
        Column("s a batch", COST, "seconds of the denoising loop for one batch", lambda row: _plain(row.loop_seconds)),
        cache_column(COST),
    ]


def _fidelity_columns(report: Report) -> list[Column]:
    columns = [_fidelity_column(name, metric) for name, metric in report.results.metrics.items()]
    count = len(report.results.config["items"])
    hint = "samples that equal the full run's, pixel by pixel; they have no PSNR"
    identical = Column("identical", FIDELITY, hint, lambda row: _identical(row, count))
    return [*columns, identical]


def _fidelity_column(name: str, metric: Heading) -> Column:
    scale = scale_of(name, metric)
    hint = f"mean [95 % bootstrap interval]; {scale.hint}"

    def cell(row: Row) -> Cell:
        return interval_cell(scale.of(row.fidelity[name]), scale.form)

    return Column(scale.label, FIDELITY, hint, cell, headline=name == PSNR)


def _identical(row: Row, count: int) -> Cell:
    return Cell(f"{row.identical} of {count}" if row.identical else "0", order=row.identical)


def _gain_columns(report: Report) -> list[Column]:
    label = report.results.metrics[PSNR].label.removesuffix(" dB")
    hint = f"{label} above the uncached run with fewer steps in the same"
    return [
        Column(
            "same time", GAIN, f"{hint} time, sample by sample; interpolated", lambda row: _gain(row.at_latency),
            headline=True,
        ),
        Column("same FLOPs", GAIN, f"{hint} FLOPs, sample by sample; interpolated", lambda row: _gain(row.at_flops)),
    ]  # fmt: skip


def _ratio(ratio: Quartiles) -> Cell:
    middle, first, third = ratio
    return Cell(f"{middle:.2f}×", f"{first:.2f}–{third:.2f}", middle)


def _plain(value: float) -> Cell:
    return Cell(f"{value:.2f}", order=value)


def _gain(match: Match | None) -> Cell:
    gain = match.gains.get(PSNR) if match else None
    if match is None or gain is None:
        return Cell(NONE)
    cell = interval_cell(gain, "+.1f")
    return replace(cell, detail=f"{cell.detail} ({match.text})".strip())
