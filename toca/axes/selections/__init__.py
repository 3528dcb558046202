"""Which tokens: one way to choose a file; a new one is a file here."""

from ...registry import load_all
from .base import Selection
from .group import Group, Grouping

__all__ = ["Group", "Grouping", "Selection"]

load_all(__name__, __path__)
