"""What whole runs say of a graph: how much more, or less, its segments count than they seem to by themselves.

In a graph segments go astray one by one, each from where the full run is. In a run they go on from one another: what
one has done the next may undo, or carry farther. How much is a matter of the label: on `emoji` plans of plain reuse
come out 10 dB better than their segments add up to. And fitted weights lead back to the full run: on `emoji-flux` each
segment that they fill leaves a ninth of the squared error that it finds, so that what goes astray early hardly counts.
A factor for each label, and what a fitted segment leaves, set the graph right: there to within 1 dB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from .candidates import single_label
from .graph import Edge
from .labels import Draft, Label
from .outlook import Outlook
from .promising import SHARES
from .refinement import WORST, Trials

ROUNDS = 12
"""Of Gauss and Newton's method. Each starts nearer to the end; the last ones move nothing by a hundredth of a dB."""
RIDGE = 0.01
"""What a factor of ten weighs, held against the run of a draft that comes out ten times better or worse."""


def first_runs(
    edges: Sequence[Edge], trials: Trials, seconds_full: float, tell: Callable[[str, int], None]
) -> dict[Draft, float]:
    """The losses of drafts that one label alone fills, of each two: enough for a first correction.

    Args:
        edges (`Sequence[Edge]`): The graph.
        trials (`Trials`): Runs drafts.
        seconds_full (`float`): Of a full step.
        tell (`Callable`): Is told of each run, and how many full steps it has.
    """
    steps, found = trials.full.steps, {}
    for label in range(len(trials.labels)):
        drafts = single_label(edges, label, steps, seconds_full)
        for count in {min(drafts, key=lambda count: abs(count - share * steps)) for share in SHARES if drafts}:
            tell("whole runs of one label", count)
            found[drafts[count]] = trials.loss(drafts[count])
    return found


def corrected(edges: Sequence[Edge], losses: Mapping[Draft, float], steps: int, labels: Sequence[Label]) -> list[Edge]:
    """The edges of a graph with the errors that runs say.

    Args:
        edges (`Sequence[Edge]`): The graph, as it was measured.
        losses (`Mapping[Draft, float]`): log10 of the mean squared error of drafts that were run.
        steps (`int`): Of a generation.
        labels (`Sequence[Label]`): What its numbers mean.
    """
    outlook = Outlook(edges)
    runs = [(outlook.filled(draft, steps), loss) for draft, loss in losses.items() if loss < WORST]
    known = [(filled, loss) for filled, loss in runs if filled and all(edge.error > 0 for edge in filled)]
    *factors, left = _fitted([(_features(filled, labels), _logs(filled), loss) for filled, loss in known], labels)
    remains = [10 ** min(left, 0.0) if label.fitted else 1.0 for label in labels]
    return [
        edge
        if edge.label is None
        else replace(edge, error=edge.error * 10 ** (factors[edge.label] / 2), remains=remains[edge.label])
        for edge in edges
    ]


def _features(edges: Sequence[Edge], labels: Sequence[Label]) -> np.ndarray:
    """(edges, labels + 1): which label each edge of a draft is of, and how many that are fitted come behind it."""
    rows, behind = np.zeros((len(edges), len(labels) + 1)), 0
    for row, edge in zip(rows[::-1], reversed(edges), strict=True):
        assert edge.label is not None, "it fills something"
        row[edge.label], row[-1] = 1.0, behind
        behind += labels[edge.label].fitted > 0
    return rows


def _logs(edges: Sequence[Edge]) -> np.ndarray:
    return 2 * np.log10([edge.error for edge in edges])


def _fitted(runs: Sequence[tuple[np.ndarray, np.ndarray, float]], labels: Sequence[Label]) -> list[float]:
    """log10 of the factors of squared errors with which the segments of runs add up to their losses: one for each
    label, and one for each fitted segment that comes behind."""
    size = len(labels) + 1
    factors = np.zeros(size)
    for _ in range(ROUNDS if runs else 0):
        slopes, missing = np.zeros((len(runs), size)), np.zeros(len(runs))
        for n, (features, logs, loss) in enumerate(runs):
            now = logs + features @ factors
            parts = 10 ** (now - now.max())
            slopes[n] = parts @ features / parts.sum()
            missing[n] = loss - now.max() - np.log10(parts.sum())
        gram = slopes.T @ slopes + RIDGE * np.eye(size)
        factors = factors + np.linalg.solve(gram, slopes.T @ missing - RIDGE * factors)
    found: list[float] = factors.tolist()
    return found
