"""What is expected of drafts: the best paths of a graph, and what any draft is likely to cost.

Drafts of one number of full steps are compared as if the time that their filled steps take were spent on full ones:
one may be nearer to the full run than another, and slower. By how much a full step brings a run nearer the graph says.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from .candidates import drafts
from .graph import Edge
from .labels import Draft, Label
from .outlook import Outlook

Paths = Mapping[int, Sequence[Draft]]
"""Drafts by their full steps."""


@dataclass(frozen=True)
class Prospect:
    """A graph, seen from its drafts.

    Args:
        steps (`int`): Of a generation.
        outlook (`Outlook`): What the graph thinks of them.
        known (`Mapping[int, Sequence[Draft]]`): Its best paths.
        filled (`Sequence[float]`): What a step takes that each label fills, in full steps.
        price (`float`): By how much log10 of the squared error falls with one full step more.
    """

    steps: int
    outlook: Outlook
    known: Paths
    filled: Sequence[float]
    price: float

    @classmethod
    def of(
        cls,
        edges: Sequence[Edge],
        labels: Sequence[Label],
        steps: int,
        full: float,
        filled: Sequence[float],
        known: Paths | None = None,
    ) -> Prospect:
        """That of a graph.

        Args:
            edges (`Sequence[Edge]`): The graph.
            labels (`Sequence[Label]`): What its numbers mean.
            steps (`int`): Of a generation.
            full (`float`): Seconds of a full step.
            filled (`Sequence[float]`): Seconds of a step that each label fills.
            known (`Mapping`, *optional*): Paths that are to be looked at again; they are looked for unless told.
        """
        outlook, known = Outlook(edges), known or drafts(edges, labels, steps, full)
        price = _price({count: min(outlook.of(draft, steps) for draft in each) for count, each in known.items()})
        return cls(steps, outlook, known, [seconds / full for seconds in filled], price)

    def time_of(self, draft: Draft) -> float:
        """What the time of a draft's filled steps is worth, in log10 of squared error."""
        return self.price * sum(self.filled[label] for label in draft.filled(self.steps).values())

    def cost_of(self, draft: Draft) -> float:
        """What it is likely to cost: its error and its time; infinite where a segment was not measured."""
        return math.log10(max(self.outlook.of(draft, self.steps), 1e-300)) + self.time_of(draft)


def _price(errors: Mapping[int, float]) -> float:
    """The median fall from one number of full steps to the next; 0 where nothing falls."""
    logs = [(count, math.log10(error)) for count, error in sorted(errors.items()) if 0 < error < math.inf]
    falls = [(before - after) / (count - less) for (less, before), (count, after) in itertools.pairwise(logs)]
    return max(0.0, median(falls)) if falls else 0.0
