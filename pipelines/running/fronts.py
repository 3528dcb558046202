"""What a front's plans do at some speeds, as tables that are read at any width: no plan is cut off."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from toca.pipelines.commands.console import output
from toca.pipelines.tuning import COLUMNS, PLAN, rows, thresholds
from toca.plan.front import Front

THRESHOLDS = "Methods that decide while the model runs: PSNR in dB (threshold)"


def print_front(front: Front, budgets: Sequence[float]) -> None:
    """Print the plan for each speed-up, and below them a line for each method that has thresholds: there may be more
    of these than a table has room for columns.

    Args:
        front (`Front`): The plans.
        budgets (`Sequence[float]`): The speed-ups.
    """
    _print(COLUMNS, rows(front, budgets), folded=[PLAN])
    if front.rules:
        output.print(THRESHOLDS)
        speeds = [f"{budget:g}x" for budget in budgets]
        _print(["method", *speeds], thresholds(front, budgets), folded=speeds)


def _print(columns: Sequence[str], lines: Sequence[Sequence[str]], folded: Sequence[str]) -> None:
    """A table of which only these columns go on in a next line where it is too wide."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name not in folded)
    for line in lines:
        table.add_row(*line)
    output.print(table)
