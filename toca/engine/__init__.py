"""What happens in a call: decisions are frozen before block 0, passes run, the books are kept."""

from .engine import Engine

__all__ = ["Engine"]
