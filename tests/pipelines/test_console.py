"""What is printed: text of users and files that a terminal must not obey."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from toca.pipelines.commands.console import PlainConsole

EVIL = "a\x1b[2J\x1b]0;title\x07b\u202ec\r\x00[bold]d[/]\x9b31m"


@pytest.mark.parametrize("terminal", [False, True])
def test_control_characters_are_shown_and_brackets_are_no_markup(terminal: bool) -> None:
    written = io.StringIO()
    console = PlainConsole(file=written, force_terminal=terminal)
    console.print("Saved", EVIL)
    table = Table(box=None)
    table.add_column("x", no_wrap=True)
    table.add_row(EVIL)
    console.print(table, width=200)
    text = written.getvalue()
    assert text.count("[bold]d[/]") == 2 and text.count(r"a\x1b[2J\x1b]0;title\x07b\u202ec") == 2
    for character in "\x07\u202e\r\x00\x9b":
        assert character not in text
    assert "\x1b[2J" not in text and "\x1b]0" not in text


def test_lines_stay_lines() -> None:
    written = io.StringIO()
    PlainConsole(file=written).print("one\ntwo")
    assert written.getvalue() == "one\ntwo\n"
