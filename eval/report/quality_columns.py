"""The columns of quality, which Markdown and the page share: what a variant reaches, and how far that is from the full
run's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from toca.eval.metrics.bootstrap import Interval
from toca.eval.report.columns import NONE, Cell, Column, direction, interval_cell

if TYPE_CHECKING:
    from toca.eval.findings.quality import ScoreColumn, VariantScore

QUALITY = "Quality"


def quality_columns(scores: Sequence[ScoreColumn]) -> list[Column]:
    """Each metric, and beside those that are told sample by sample the difference to the full run."""
    columns = []
    for column in scores:
        columns.append(_reached(column))
        if any(score.difference is not None for score in column.scores.values()):
            columns.append(_beyond(column))
    return columns


def _reached(column: ScoreColumn) -> Column:
    hint = f"{direction(column.sign)}; {column.tag}"
    form = f".{column.digits}f"
    return Column(column.label, QUALITY, hint, lambda row: _cell(column.scores.get(row.name), form))


def _cell(score: VariantScore | None, form: str) -> Cell:
    if score is None:
        return Cell(NONE)
    if score.deviation is not None:
        return Cell(f"{score.value:{form}}", f"± {score.deviation:{form}}", score.value)
    if score.low is None or score.high is None:
        return Cell(f"{score.value:{form}}", order=score.value)
    return Cell(f"{score.value:{form}}", f"[{score.low:{form}}, {score.high:{form}}]", score.value)


def _beyond(column: ScoreColumn) -> Column:
    hint = f"minus that of the full run, sample by sample: mean [95 % bootstrap interval]; {direction(column.sign)}"
    form = f"+.{column.digits}f"
    return Column(f"{column.label}, to full", QUALITY, hint, lambda row: _gap(column.scores.get(row.name), form))


def _gap(score: VariantScore | None, form: str) -> Cell:
    gap: Interval | None = None if score is None else score.difference
    return Cell(NONE) if gap is None else interval_cell(gap, form)
