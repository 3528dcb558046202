"""Load a pipeline by name, folder or hub id; generate images and videos; the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toca.pipelines.loading import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Imports what loads pipelines when it is first asked for: it takes seconds."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from toca.pipelines.loading import load

    return load
