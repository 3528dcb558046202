"""The dynamic programme finds what trying every path finds, and what the papers say of theirs holds."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toca.tuning.graph import Edge, Path, best_paths
from toca.tuning.objectives import Leximin, Objective, PowerSum

OBJECTIVES = [Leximin(), PowerSum(1.0), PowerSum(2.0), PowerSum(4.0)]


def every_path(num_steps: int, edges: Sequence[Edge], last: Edge | None = None) -> Iterator[tuple[Edge, ...]]:
    """All sequences of edges from where `last` stops to the end, by the definition alone."""
    at, before = (last.stop, last.start) if last else (0, None)
    if at == num_steps:
        yield ()
    for edge in edges:
        if edge.start == at and edge.before in (None, before):
            for rest in every_path(num_steps, edges, edge):
                yield edge, *rest


def left_of(path: Sequence[Edge]) -> list[float]:
    """Of the error of each edge what those behind it leave."""
    shares = [math.prod(edge.remains for edge in path[i + 1 :]) for i in range(len(path))]
    return [edge.error * share**0.5 for edge, share in zip(path, shares, strict=True) if edge.error * share]


def worth(path: Sequence[Edge], objective: Objective, largest: float) -> Any:
    errors = left_of(path)
    if isinstance(objective, Leximin):
        # As the search has it: the order of the factors makes a difference in the last digit.
        return [float(f"{error:.9e}") for error in sorted(errors, reverse=True)]
    assert isinstance(objective, PowerSum)
    return pytest.approx(math.fsum((error / (largest or 1.0)) ** objective.gamma for error in errors), abs=1e-12)


def whole(time: float, unit: float) -> int:
    return math.ceil(time / unit - 1e-9)


def by_trying(num_steps: int, edges: Sequence[Edge], objective: Objective, unit: float) -> dict[int, Any]:
    """For each time in units at which a path is better than all faster ones, what the best is worth."""
    largest = max((edge.error for edge in edges), default=0.0)
    by_time: dict[int, list[Any]] = {}
    for path in every_path(num_steps, edges):
        value = worth(path, objective, largest)
        units = sum(whole(edge.time, unit) for edge in path)
        by_time.setdefault(units, []).append(getattr(value, "expected", value))
    front: dict[int, Any] = {}
    for units in sorted(by_time):
        best = min(by_time[units])
        kept = list(front.values())
        if not kept or (best < kept[-1] if isinstance(best, list) else best < kept[-1] - 1e-12):
            front[units] = best
    return front


def found(paths: list[Path], edges: Sequence[Edge], objective: Objective, unit: float) -> dict[int, Any]:
    largest = max((edge.error for edge in edges), default=0.0)
    return {sum(whole(e.time, unit) for e in path.edges): worth(path.edges, objective, largest) for path in paths}


@st.composite
def graphs(draw: st.DrawFn, with_before: bool) -> tuple[int, list[Edge]]:
    """All full steps, and some edges that fill steps; few values, so that there are ties."""
    num_steps = draw(st.integers(1, 6))
    edges = [Edge(step, step + 1, None, 0.0, 1.0) for step in range(num_steps)]
    for start, stop in itertools.combinations(range(num_steps + 1), 2):
        for label in range(draw(st.integers(0, 2))) if stop > start + 1 else ():
            for before in [None, *range(start)] if with_before and start else [None]:
                if draw(st.booleans()):
                    error = draw(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.25, 7.0]))
                    time, remains = draw(st.sampled_from([1.0, 1.1, 1.75])), draw(st.sampled_from([1.0, 0.25, 0.0]))
                    edges.append(Edge(start, stop, label, error, time, before, remains))
    return num_steps, draw(st.permutations(edges))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@pytest.mark.parametrize("with_before", [False, True])
@settings(deadline=None, max_examples=40)
@given(data=st.data(), unit=st.sampled_from([0.25, 0.4, 1.0]))
def test_the_front_is_that_of_trying_every_path(
    data: st.DataObject, unit: float, with_before: bool, objective: Objective
) -> None:
    num_steps, edges = data.draw(graphs(with_before))
    paths = best_paths(num_steps, edges, objective, unit)
    assert all(path.edges in set(every_path(num_steps, edges)) for path in paths)
    assert found(paths, edges, objective, unit) == by_trying(num_steps, edges, objective, unit)


def complete(num_steps: int, most: int, seed: int = 0, last_is_full: bool = False) -> list[Edge]:
    """Edges of LeMiCa's graph, each with a random error that grows with its length, and a time of 1."""
    rng = random.Random(seed)
    edges = []
    for start in range(num_steps):
        for stop in range(start + 1, min(start + most, num_steps - last_is_full) + 1):
            error = (stop - start - 1) ** 1.5 * rng.uniform(0.5, 1.5)
            edges.append(Edge(start, stop, None if stop == start + 1 else 0, error, 1.0))
    return [*edges, Edge(num_steps - 1, num_steps, None, 0.0, 1.0)] if last_is_full else edges


def test_a_path_of_every_number_of_full_steps() -> None:
    """As LeMiCa's tables are made: the last step is full, and so many steps are."""
    paths = best_paths(50, complete(50, 8, last_is_full=True), Leximin(), 1.0)
    assert [len(path.full_steps) for path in paths] == list(range(8, 51))
    assert all(path.full_steps[0] == 0 and path.full_steps[-1] == 49 for path in paths)
    largest = [path.errors[0] for path in paths]
    assert largest == sorted(largest, reverse=True) and largest[-1] == 0


def test_a_path_says_what_fills_each_step() -> None:
    edges = [Edge(0, 1, None, 0.0, 1.0), Edge(1, 4, 7, 2.0, 1.5), Edge(4, 6, 0, 3.0, 1.25)]
    (path,) = best_paths(6, edges, Leximin(), 0.25)
    assert path.full_steps == (0, 1, 4) and path.errors == (3.0, 2.0, 0.0) and path.time == 3.75
    assert path.labels(6) == (None, None, 7, 7, None, 0)
    with pytest.raises(ValueError, match="num_steps.*must be 6.*7"):
        path.labels(7)


def printed_recurrence(num_steps: int, full_steps: int, error: dict[tuple[int, int, int], float]) -> float:
    """DPCache's D[m, k] = min over j of D[m-1, j] + C(P[m-1, j], j, k), P the j that it was: what the last step of
    all costs with that many full steps, where steps 0 and 1 are full."""
    cost, back = {(2, 1): 0.0}, {(2, 1): 0}
    for m in range(3, full_steps + 1):
        for k in range(2, num_steps):
            offers = [(cost[m - 1, j] + error[back[m - 1, j], j, k], j) for j in range(1, k) if (m - 1, j) in cost]
            if offers:
                cost[m, k], back[m, k] = min(offers)
    return cost[full_steps, num_steps - 1]


def as_edges(num_steps: int, error: dict[tuple[int, int, int], float]) -> list[Edge]:
    forced = [Edge(0, 1, None, 0.0, 1.0), Edge(num_steps - 1, num_steps, None, 0.0, 1.0)]
    filled = [Edge(j, k, 0, cost, 1.0, before=i) for (i, j, k), cost in error.items() if k > j + 1]
    return [*forced, *filled, *(Edge(j, j + 1, None, 0.0, 1.0) for j in range(1, num_steps - 1))]


def test_dpcaches_printed_recurrence_misses_the_best_path() -> None:
    """To step 4 of 7 it is cheapest over 2, but on from 4 the error is small only if 3 was computed before."""
    error = {(i, j, k): 0.0 if k == j + 1 else 10.0 for i, j, k in itertools.combinations(range(7), 3)}
    error |= {(0, 1, 3): 2.0, (1, 2, 4): 1.0, (2, 4, 6): 9.0, (3, 4, 6): 0.5}
    best = next(p for p in best_paths(7, as_edges(7, error), PowerSum(1.0), 1.0) if len(p.full_steps) == 5)
    assert best.full_steps == (0, 1, 3, 4, 6) and sum(best.errors) == 2.5
    assert printed_recurrence(7, 5, error) == 10.0


def test_a_large_gamma_looks_at_the_largest_error_as_leximin_does() -> None:
    """The largest error of every budget comes down to Leximin's as gamma rises."""
    for seed in range(3):
        edges = complete(20, 6, seed)
        least = [path.errors[0] for path in best_paths(20, edges, Leximin(), 1.0)]
        above = []
        for gamma in (1.0, 4.0, 64.0):
            largest = [path.errors[0] for path in best_paths(20, edges, PowerSum(gamma), 1.0)]
            above.append(sum(a > b for a, b in zip(largest, least, strict=True)))
        assert above[0] > above[1] >= above[2] == 0


def test_fifty_steps_with_many_labels_take_seconds() -> None:
    rng = random.Random(0)
    edges = [Edge(step, step + 1, None, 0.0, 1.0) for step in range(50)]
    for start, length, label in itertools.product(range(50), range(2, 9), range(8)):
        for before in range(max(0, start - 8), start) if start + length <= 50 else ():
            error = (length - 1) ** 1.5 * rng.uniform(0.5, 1.5)
            edges.append(Edge(start, start + length, label, error, 1 + 0.02 * (length - 1) * label, before))
    begun = time.perf_counter()
    paths = best_paths(50, edges, Leximin(), 0.1)
    assert time.perf_counter() - begun < 20
    largest = [path.errors[0] for path in paths]
    assert len(paths) > 43 and largest == sorted(largest, reverse=True)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((3, 3, None, 0.0, 1.0), "stop.*above the start, 3"),
        ((3, 4, 0, 0.0, 1.0), "label.*None where nothing is filled"),
        ((3, 4, None, 0.5, 1.0), "error.*0 where nothing is filled"),
        ((3, 5, None, 0.5, 1.0), "label.*given where steps are filled"),
        ((3, 5, 0, -0.5, 1.0), "error.*non-negative"),
        ((3, 5, 0, math.nan, 1.0), "error.*finite"),
        ((3, 5, 0, 0.5, 1.0, 3), "before.*below 3"),
        ((3, 5, 0, 0.5, 1.0, 2, 1.5), "remains.*between 0 and 1, got 1.5"),
    ],
)
def test_edges_that_cannot_be(values: tuple, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Edge(*values)


def test_what_cannot_be_searched() -> None:
    edges = [Edge(0, 1, None, 0.0, 1.0), Edge(1, 3, 0, 1.0, 1.0)]
    with pytest.raises(ValueError, match="No path of the 2 edges leads through all 2 steps|must stop at 2"):
        best_paths(2, edges, Leximin(), 1.0)
    with pytest.raises(ValueError, match="No path of the 1 edges leads through all 3 steps"):
        best_paths(3, edges[:1], Leximin(), 1.0)
    with pytest.raises(ValueError, match="unit.*must be larger"):
        best_paths(3, edges, Leximin(), 1e-9)
    with pytest.raises(ValueError, match="unit.*above 0"):
        best_paths(3, edges, Leximin(), 0.0)
