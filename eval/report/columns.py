"""Columns of a table of variants: how a row of the results becomes a cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from toca.eval.findings.results import Row
from toca.eval.metrics.bootstrap import Interval

NONE = "–"


@dataclass(frozen=True)
class Cell:
    """A cell: its figure, the interval or quartiles below it, and what it is sorted by (`None` comes last)."""

    text: str
    detail: str = ""
    order: float | None = None

    @property
    def line(self) -> str:
        """All of it on one line."""
        return f"{self.text} {self.detail}".strip()


@dataclass(frozen=True)
class Column:
    """A column: its heading, the heading above it, an explanation, how a row's cell is made, and whether the page
    shows it before anybody asks for more."""

    label: str
    group: str
    hint: str
    cell: Callable[[Row], Cell]
    headline: bool = False


def cache_column(group: str) -> Column:
    """Bytes of the cache, under any heading."""
    hint = "bytes kept between steps, of one batch"
    return Column("cache, MiB", group, hint, lambda row: Cell(mib(row.cache_bytes), order=row.cache_bytes))


def mib(size: int) -> str:
    """Bytes for a table."""
    return f"{size / 2**20:.1f}"


def interval_cell(interval: Interval | None, form: str) -> Cell:
    """A mean with its interval below it; a metric without a value is one of identical pictures."""
    if interval is None:
        return Cell("identical")
    if interval.low is None or interval.high is None:
        return Cell(f"{interval.mean:{form}}", order=interval.mean)
    return Cell(f"{interval.mean:{form}}", f"[{interval.low:{form}}, {interval.high:{form}}]", interval.mean)


def direction(sign: int) -> str:
    """How to read a metric whose sign this is."""
    return "more is better" if sign > 0 else "less is better"
