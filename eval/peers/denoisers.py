"""The denoisers of a pipeline."""

from __future__ import annotations

from typing import Any

from torch import nn


def transformers_of(pipe: Any) -> list[nn.Module]:
    """The transformers of a pipeline, in order: one, two where they take turns, or none."""
    parts = (getattr(pipe, name, None) for name in ("transformer", "transformer_2"))
    return [part for part in parts if part is not None]
