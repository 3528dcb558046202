"""The tables that these programs print, which are wider than a terminal may say it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from toca.pipelines.commands.console import PlainConsole


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], width: int, names: int = 1) -> None:
    """Print a table, as wide as it needs to be.

    Args:
        title (`str`): Above it.
        columns (`Sequence[str]`): Headings.
        rows (`Iterable[Sequence[str]]`): A cell for each column.
        width (`int`): The most characters of a line.
        names (`int`, defaults to 1): How many columns, the first ones, hold names; the others hold numbers.
    """
    table = Table(title=title)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < names else "right")
    for row in rows:
        table.add_row(*row)
    PlainConsole(width=width).print(table, soft_wrap=False)
