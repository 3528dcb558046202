"""Plans: a table of actions that is seen, costed, saved and loaded before anything runs."""

from .front import Front
from .plan import Plan

__all__ = ["Front", "Plan"]
