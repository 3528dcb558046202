"""The plain baseline: every step in full, with the books kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..axes.sampling import Sampling
from ..models import Site
from ..registry import register
from .base import Method


@register
@dataclass(frozen=True)
class NoCache(Method):
    """Compute everything. What other methods are compared with."""

    name: ClassVar[str] = "none"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return True
