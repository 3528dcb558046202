"""What whole runs say of a graph: how much more, or less, a label costs than its segments add up to.

In a graph segments go astray one by one, each from where the full run is. In a run they go on from one another: what
one has done the next may undo, or carry farther. How much is a matter of the label. On `emoji` plans of plain reuse
come out 10 dB better than their segments add up to, and plans of fitted forecasts no better; a factor for each sets
the graph right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import mean

from .candidates import single_label
from .graph import Edge
from .promising import SHARES
from .refinement import WORST, Outlook, Trials


def corrected(
    edges: Sequence[Edge], trials: Trials, seconds_full: float, tell: Callable[[str, int], None]
) -> list[Edge]:
    """The edges of a graph, with the errors of each label times its factor.

    Args:
        edges (`Sequence[Edge]`): The graph.
        trials (`Trials`): Runs drafts.
        seconds_full (`float`): Of a full step.
        tell (`Callable`): Is told of each run, and how many full steps it has.
    """
    factors = [_factor(label, edges, trials, seconds_full, tell) for label in range(len(trials.labels))]
    return [edge if edge.label is None else replace(edge, error=edge.error * factors[edge.label]) for edge in edges]


def _factor(
    label: int, edges: Sequence[Edge], trials: Trials, seconds_full: float, tell: Callable[[str, int], None]
) -> float:
    """Of the errors of a label: from runs that it alone fills. 1 where there are none."""
    outlook, steps = Outlook(edges), trials.full.steps
    drafts = single_label(edges, label, steps, seconds_full)
    found = []
    for count in {min(drafts, key=lambda count: abs(count - share * steps)) for share in SHARES if drafts}:
        draft = drafts[count]
        tell("whole runs of one label", count)
        expected, loss = outlook.of(draft, steps), trials.loss(draft)
        if 0 < expected < math.inf and loss < WORST:
            found.append((loss - math.log10(expected)) / 2)
    return 10 ** mean(found) if found else 1.0
