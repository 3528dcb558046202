"""Reuse, said as a fill: for mixtures, and for plans in which some segments reuse and others forecast."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...registry import register
from ..sampling import Timeline
from .base import Fill


@register
@dataclass(frozen=True)
class Reuse(Fill):
    """The value as it was last computed."""

    name: ClassVar[str] = "reuse"
    reads_history: ClassVar[bool] = False

    @property
    def kept(self) -> int:
        return 0

    @property
    def term_kind(self) -> Hashable:
        return None

    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        return [1.0]
