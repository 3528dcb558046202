"""Other libraries' errors, for a sentence of ours."""

from __future__ import annotations

LENGTH = 300


def brief(error: Exception) -> str:
    """What it says, on one line and not too long."""
    return " ".join(str(error).split())[:LENGTH].rstrip(".")
