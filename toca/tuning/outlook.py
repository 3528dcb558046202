"""What a graph thinks of a draft, before it is run."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .graph import Edge
from .labels import Draft


class Outlook:
    """The segments of drafts, as far as a graph has them.

    Args:
        edges (`Sequence[Edge]`): The graph.
    """

    def __init__(self, edges: Sequence[Edge]):
        self._edges = {(edge.before, edge.start, edge.stop, edge.label): edge for edge in edges}

    def of(self, draft: Draft, steps: int) -> float:
        """The sum of the squared errors of its segments, of each what those behind it leave; infinite where one was
        not measured."""
        edges, total = self.filled(draft, steps), 0.0
        for edge in edges or ():
            total = total * edge.remains + edge.error**2
        return math.inf if edges is None else total

    def filled(self, draft: Draft, steps: int) -> list[Edge] | None:
        """The edges of those of its segments that fill anything; `None` where one was not measured."""
        found: list[Edge] = []
        before: int | None = None
        for start, stop, label in draft.segments(steps):
            if stop > start + 1:
                either = (self._edges.get((known, start, stop, label)) for known in (before, None))
                edge = next((edge for edge in either if edge is not None), None)
                if edge is None:
                    return None
                found.append(edge)
            before = start
        return found
