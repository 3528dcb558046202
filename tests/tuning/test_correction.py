"""What runs say of a graph, and what is expected of drafts then."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toca.tuning.correction import corrected
from toca.tuning.graph import Edge
from toca.tuning.labels import Draft, Label
from toca.tuning.outlook import Outlook
from toca.tuning.prospect import Prospect
from toca.tuning.refinement import WORST

STEPS = 8
LABELS = (Label("reuse the output", "output"), Label("four values fitted, output", "output", fitted=4))


def graph(seed: int) -> list[Edge]:
    """All segments of both labels, with errors that grow with their length."""
    chance = random.Random(seed)
    edges = [Edge(step, step + 1, None, 0.0, 1.0) for step in range(STEPS)]
    for start, stop in itertools.combinations(range(STEPS + 1), 2):
        for label in range(len(LABELS)) if stop > start + 1 else ():
            edges.append(Edge(start, stop, label, (stop - start - 1) * chance.uniform(0.5, 1.5), 1.0))
    return edges


def some_drafts(seed: int, count: int) -> list[Draft]:
    chance, found = random.Random(seed), {}
    while len(found) < count:
        full = (0, *sorted(chance.sample(range(1, STEPS), chance.randint(1, 4))))
        gaps = zip(full, (*full[1:], STEPS), strict=True)
        found[Draft(full, tuple(chance.randint(0, 1) if stop > start + 1 else 0 for start, stop in gaps))] = None
    return list(found)


@settings(max_examples=20, deadline=None)
@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(-1.5, 0), st.integers(0, 99))
def test_factors_and_what_fitted_segments_leave_are_found_again(
    reused: float, fitted: float, left: float, seed: int
) -> None:
    """Losses that follow the rule exactly tell it, to within what the ridge holds back."""
    edges, drafts = graph(seed), some_drafts(seed, 60)
    factors, losses = (reused, fitted), {}
    for draft in drafts:
        total = 0.0
        for edge in Outlook(edges).filled(draft, STEPS) or ():
            assert edge.label is not None
            total = total * (10**left if edge.label else 1.0) + edge.error**2 * 10 ** factors[edge.label]
        losses[draft] = math.log10(total)
    right = corrected(edges, losses, STEPS, LABELS)
    after = Outlook(right)
    assert np.abs([math.log10(after.of(draft, STEPS)) - loss for draft, loss in losses.items()]).mean() < 0.05
    assert {edge.remains for edge in right if edge.label != 1} == {1.0}
    (remains,) = {edge.remains for edge in right if edge.label == 1}
    assert math.log10(remains) == pytest.approx(left, abs=0.15)


def test_without_runs_the_graph_stays_as_it_is() -> None:
    edges = graph(0)
    assert corrected(edges, {}, STEPS, LABELS) == edges
    # A run that failed, and one of a segment that was not measured, tell nothing.
    strange = {some_drafts(0, 1)[0]: WORST}
    assert corrected(edges, strange, STEPS, LABELS) == edges
    assert corrected(edges[: STEPS + 1], {Draft((0, 4), (0, 0)): -1.0}, STEPS, LABELS) == edges[: STEPS + 1]


def test_more_is_never_left_than_was_there() -> None:
    """Where what follows makes it worse, that is the label's own doing."""
    edges, drafts = graph(1), some_drafts(1, 40)
    losses = {draft: float(len(draft.full)) for draft in drafts}
    assert all(edge.remains <= 1.0 for edge in corrected(edges, losses, STEPS, LABELS))


def test_errors_before_fitted_segments_count_less() -> None:
    edges = [Edge(0, 2, 0, 3.0, 1.0), Edge(2, 4, 1, 1.0, 1.0, remains=0.25), Edge(4, 6, 0, 2.0, 1.0)]
    assert Outlook(edges).of(Draft((0, 2, 4), (0, 1, 0)), 6) == pytest.approx(9 * 0.25 + 1 + 4)
    assert Outlook(edges[:2]).of(Draft((0, 2, 4), (0, 1, 0)), 6) == math.inf


def test_time_is_worth_what_a_full_step_brings() -> None:
    """Ten times less squared error for each full step; half a full step for each filled one of the second label."""
    edges = [Edge(step, step + 1, None, 0.0, 1.0) for step in range(4)]
    edges += [Edge(0, 4, 0, 10.0, 1.0), Edge(0, 3, 0, 10**0.5, 1.0), Edge(0, 2, 0, 1.0, 1.0), Edge(0, 2, 1, 0.9, 1.5)]
    prospect = Prospect.of(edges, LABELS, 4, 2.0, [0.0, 1.0])
    assert prospect.price == pytest.approx(1.0, abs=0.1) and prospect.filled == [0.0, 0.5]
    quick, slow = Draft((0, 2, 3), (0, 0, 0)), Draft((0, 2, 3), (1, 0, 0))
    assert prospect.outlook.of(slow, 4) < prospect.outlook.of(quick, 4)
    assert prospect.cost_of(quick) < prospect.cost_of(slow)
    assert prospect.cost_of(Draft((0, 1), (0, 0))) == math.inf
