"""The plain baseline: every step in full, with the books kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..actions import COMPUTE, Action
from ..models import Site
from .base import Method


@dataclass(frozen=True)
class NoCache(Method):
    """Compute everything. What other methods are compared with."""

    name: ClassVar[str] = "none"

    def action(self, site: Site, step: int, num_inference_steps: int) -> Action:
        return COMPUTE
