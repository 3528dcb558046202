"""Where the commands print: results to stdout; notes and errors to stderr."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.text import Text

from toca.checks import visible


class PlainConsole(Console):
    """A console for text that comes from users and files: square brackets are no markup, control characters are shown
    and not obeyed, and a path stays on one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, soft_wrap=True, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """What every string that is printed goes through."""
        return super().render_str(visible(text), **options)


output = PlainConsole()
errors = PlainConsole(stderr=True)


def print_json(data: Any) -> None:
    """Data for programs, to stdout: strict JSON, in ASCII, whatever encoding the other end expects."""
    output.print(json.dumps(data, indent=2, allow_nan=False))
