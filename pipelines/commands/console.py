"""Where the commands print: results to stdout; notes and errors to stderr."""

from __future__ import annotations

from rich.console import Console

# Text comes from users and files: it may hold square brackets, and a path must stay on one line.
output = Console(highlight=False, markup=False, soft_wrap=True)
errors = Console(highlight=False, markup=False, soft_wrap=True, stderr=True)
