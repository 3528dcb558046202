"""A comparison as a table for the console, as Markdown, and as plain data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from toca.eval.comparison.pairing import Comparison, Pair
from toca.eval.metrics.bootstrap import Interval
from toca.eval.report.columns import NONE, interval_cell
from toca.eval.report.markdown import plain, table


def about(comparison: Comparison) -> str:
    """How to read it."""
    return (
        f"{comparison.samples:,} samples of both runs, the second against the first: means of the differences "
        "[95 % paired bootstrap over prompts], more is better; * where the interval does not hold zero."
    )


def headings(comparison: Comparison) -> list[str]:
    """Of the columns."""
    metrics = [heading.text for heading in comparison.metrics.values()]
    return ["variant", "speed-up, first", "second", *metrics, *_labels(comparison)]


def cells(comparison: Comparison, pair: Pair) -> list[str]:
    """Of a row."""
    forms = {name: f"+.{heading.digits}f" for name, heading in comparison.metrics.items()}
    scores = [pair.scores.get(label) for label in _labels(comparison)]
    return [
        pair.variant,
        *(f"{speedup[0]:.2f} ({speedup[1]:.2f}-{speedup[2]:.2f})" for speedup in pair.speedups),
        *(_gain(pair.gains[name], form) for name, form in forms.items()),
        *(NONE if both is None else f"{both[0]:.4g} → {both[1]:.4g}" for both in scores),
    ]


def aligned(comparison: Comparison) -> str:
    """The table as text, as wide as it is: a figure that is cut at a console's width says nothing."""
    rows = [headings(comparison), *(cells(comparison, pair) for pair in comparison.pairs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[name.ljust(widths[0]), *map(str.rjust, figures, widths[1:])] for name, *figures in rows]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def markdown(comparison: Comparison) -> str:
    """All of it."""
    rows = [[plain(cells_of[0]), *(cell.replace("*", r"\*") for cell in cells_of[1:])]
            for cells_of in (cells(comparison, pair) for pair in comparison.pairs)]  # fmt: skip
    notes = "\n".join(f"- {plain(note)}" for note in comparison.notes)
    title, figures = f"# Two runs of `{plain(comparison.model)}`", table(headings(comparison), rows)
    return "\n\n".join(part for part in (title, plain(about(comparison)), figures, notes) if part) + "\n"


def to_data(comparison: Comparison) -> dict[str, Any]:
    """All of it, for JSON."""
    return asdict(comparison)


def _labels(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(label for pair in comparison.pairs for label in pair.scores))


def _gain(gain: Interval | None, form: str) -> str:
    if gain is None:
        return "identical"
    decided = gain.low is not None and gain.high is not None and (gain.low > 0 or gain.high < 0)
    return interval_cell(gain, form).line + ("*" if decided else "")
