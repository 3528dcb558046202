"""The best paths through the steps of a generation for every budget of time, by an exact dynamic programme.

A path is what a plan is made of: full steps, and between two of them steps that are filled. What it costs is a matter
of its edges, from one full step to the next. Where a fill looks back on two full steps, the error of an edge depends
on the full step before; the search therefore remembers the last two. (DPCache's printed recurrence, of arXiv
2602.22654, remembers one and the best predecessor that it had; it misses paths on which another pays later.)
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from ..checks import NonNegative, Share, SomeSteps, Steps, Within, check, check_fields, checked
from .objectives import Objective

MOST_UNITS = 200_000
"""Units of time that a path may take; more of them take long, and no clock tells them apart."""

_ROUNDING = 1e-9
"""Of a unit: what floating point adds to a whole number of them is no unit more."""


@dataclass(frozen=True)
class Edge:
    """From one full step to the next: `start` is computed, the steps between `start` and `stop` are filled.

    Args:
        start (`int`): The full step.
        stop (`int`): The next full step, or the number of steps for the last edge of a path.
        label (`int`, *optional*): What fills the steps between, as the caller numbers it; `None` if there are none.
        error (`float`): What filling them costs; 0 if there are none.
        time (`float`): What the full step and the filled ones take, in the unit of the caller.
        before (`int`, *optional*): The full step before `start` that the error is for; `None` if it is the same after
            any.
        remains (`float`, defaults to 1): What it leaves of the squared errors of all edges before it: less where what
            fills its steps leads back to where the path should be.

    Raises:
        ValueError: If a value is out of range, or an edge that fills nothing has a label or an error.
    """

    start: Steps
    stop: SomeSteps
    label: Steps | None
    error: NonNegative
    time: NonNegative
    before: Steps | None = None
    remains: Share = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        check(self.start < self.stop, "stop", self.stop, f"must be above the start, {self.start}")
        check(self.before is None or self.before < self.start, "before", self.before, f"must be below {self.start}")
        if self.stop == self.start + 1:
            check(self.label is None, "label", self.label, "must be None where nothing is filled")
            check(self.error == 0, "error", self.error, "must be 0 where nothing is filled")
        else:
            check(self.label is not None, "label", self.label, "must be given where steps are filled")


@dataclass(frozen=True)
class Path:
    """Edges from step 0 to the end of the generation, each one from where the one before it stops."""

    edges: tuple[Edge, ...]

    @property
    def full_steps(self) -> tuple[int, ...]:
        return tuple(edge.start for edge in self.edges)

    @property
    def errors(self) -> tuple[float, ...]:
        """Of all edges, the largest first."""
        return tuple(sorted((edge.error for edge in self.edges), reverse=True))

    @property
    def time(self) -> float:
        return math.fsum(edge.time for edge in self.edges)

    def labels(self, num_steps: int) -> tuple[int | None, ...]:
        """The label of each step; `None` for full ones."""
        check(self.edges[-1].stop == num_steps, "num_steps", num_steps, f"must be {self.edges[-1].stop}")
        filled = {step: edge.label for edge in self.edges for step in range(edge.start + 1, edge.stop)}
        return tuple(filled.get(step) for step in range(num_steps))


def best_paths(num_steps: int, edges: Sequence[Edge], objective: Objective, unit: float) -> list[Path]:
    """The front over time: for every budget the best path that keeps it, and none that is as slow for nothing.

    Args:
        num_steps (`int`): Steps of the generation.
        edges (`Sequence[Edge]`): All that a path may be made of. Several may lead from one step to another; an edge
            that fills nothing must be among them to be taken.
        objective (`Objective`): `Leximin()` or `PowerSum(gamma)`.
        unit (`float`): Times of edges are counted in whole ones of it, rounded up; within a unit the better path is
            kept. With a time of 1 for each edge and a unit of 1 the budget is the number of full steps.

    Returns:
        `list[Path]`: From the fastest to the best.

    Raises:
        ValueError: If an edge leads out of the generation, no path leads through it, or the unit is so small that a
            path might take more than 200,000 of them.
    """
    num_steps = checked(num_steps, SomeSteps, "num_steps")
    unit = checked(unit, _Unit, "unit")
    return _Search(num_steps, edges, objective, unit).paths()


_Unit = Annotated[float, Within(0, 1e12, open=True)]


@dataclass(frozen=True)
class _Front:
    """Of paths to one place the best for each time, where slower ones are better.

    Args:
        units (`np.ndarray`): What each takes, rising; (paths,), int64.
        rows (`np.ndarray`): What each is worth, falling; (paths, width), float64.
        ids (`np.ndarray`): Where the search has written down how each came here; (paths,), int64.
    """

    units: np.ndarray
    rows: np.ndarray
    ids: np.ndarray


@dataclass
class _Search:
    """Walks through the steps once, and keeps for each pair of a full step and the one before it a front of paths."""

    num_steps: int
    edges: Sequence[Edge]
    objective: Objective
    unit: float

    origins: list[tuple[int, int]] = field(default_factory=list)
    """Of each path that was kept: the id of the path that it prolongs, or -1, and the place of its last edge."""

    def paths(self) -> list[Path]:
        width = self.objective.width(self.num_steps)
        nothing = _Front(np.zeros(1, np.int64), np.zeros((1, width)), np.full(1, -1))
        fronts: dict[int, dict[int, _Front]] = defaultdict(dict)
        fronts[0][-1] = nothing
        for (start, stop), places in self._kept().items():
            offers = list(self._offers(fronts[start], places))
            if offers:
                fronts[stop][start] = self._written(*_best(offers))
        if not fronts[self.num_steps]:
            raise ValueError(f"No path of the {len(self.edges)} edges leads through all {self.num_steps} steps.")
        last = _merged(fronts[self.num_steps])
        return [self._path(number) for number in last.ids.tolist()]

    def _kept(self) -> dict[tuple[int, int], list[tuple[int, int, float]]]:
        """From a full step to the next, in the order of the first: the edges that no other is better than, by their
        place, units and weight."""
        errors = np.array([edge.error for edge in self.edges], np.float64)
        weights = self.objective.weights(errors)
        groups: dict[tuple[int, int], list[tuple[int, int, float]]] = defaultdict(list)
        for place, (edge, weight) in enumerate(zip(self.edges, weights.tolist(), strict=True)):
            check(edge.stop <= self.num_steps, "edges", edge, f"must stop at {self.num_steps} or before")
            groups[edge.start, edge.stop].append((place, self._units(edge.time), weight))
        return {pair: self._undominated(groups[pair]) for pair in sorted(groups)}

    def _units(self, time: float) -> int:
        units = time / self.unit
        check(units * self.num_steps <= MOST_UNITS, "unit", self.unit, f"must be larger, for an edge of {time:g}")
        return math.ceil(units - _ROUNDING)

    def _undominated(self, group: list[tuple[int, int, float]]) -> list[tuple[int, int, float]]:
        """Those of a pair of steps that are not worse than another for the same step before, or for any."""
        least: dict[tuple[int | None, float], float] = {}
        kept = []
        for place, units, weight in sorted(group, key=lambda one: (one[1], one[2], self.edges[one[0]].time)):
            before, remains = self.edges[place].before, self.edges[place].remains
            rivals = (w for (b, r), w in least.items() if b in (before, None) and r <= remains)
            if weight < min(rivals, default=math.inf):
                least[before, remains] = weight
                kept.append((place, units, weight))
        return kept

    def _offers(self, fronts: dict[int, _Front], places: list[tuple[int, int, float]]) -> Iterator[_Offer]:
        """What each edge makes of the paths that it may prolong."""
        anywhere: _Front | None = None
        for place, units, weight in places:
            before = self.edges[place].before
            if before is None and anywhere is None and fronts:
                anywhere = _merged(fronts)
            front = anywhere if before is None else fronts.get(before)
            if front is not None:
                rows = self.objective.added(front.rows, weight, self.edges[place].remains)
                yield _Offer(front.units + units, rows, front.ids, place)

    def _written(self, front: _Front, places: np.ndarray) -> _Front:
        first = len(self.origins)
        self.origins += zip(front.ids.tolist(), places.tolist(), strict=True)
        return _Front(front.units, front.rows, np.arange(first, len(self.origins)))

    def _path(self, number: int) -> Path:
        edges: list[Edge] = []
        while number >= 0:
            number, place = self.origins[number]
            edges.append(self.edges[place])
        return Path(tuple(reversed(edges)))


@dataclass(frozen=True)
class _Offer:
    """Paths to one place that end in the same edge, or have all been written down: as a front, with its place."""

    units: np.ndarray
    rows: np.ndarray
    ids: np.ndarray
    place: int = -1


def _merged(fronts: dict[int, _Front]) -> _Front:
    """The front of all paths to a step, whatever the full step before."""
    if len(fronts) == 1:
        return next(iter(fronts.values()))
    return _best([_Offer(front.units, front.rows, front.ids) for front in fronts.values()])[0]


def _best(offers: list[_Offer]) -> tuple[_Front, np.ndarray]:
    """The front of all that is offered, and the place of the edge that each of its paths ends in."""
    first = min(int(offer.units[0]) for offer in offers)
    length = max(int(offer.units[-1]) for offer in offers) - first + 1
    rows = np.full((length, offers[0].rows.shape[1]), np.inf)
    ids, places = np.full(length, -1), np.full(length, -1)
    for offer in offers:
        at = offer.units - first
        lower = _lower(offer.rows, rows[at])
        won = at[lower]
        rows[won], ids[won], places[won] = offer.rows[lower], offer.ids[lower], offer.place
    kept = _falling(rows)
    return _Front(kept + first, rows[kept], ids[kept]), places[kept]


def _lower(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which rows come before the others in lexicographic order."""
    lower = rows[:, 0] < others[:, 0]
    equal = np.flatnonzero(rows[:, 0] == others[:, 0])
    if len(equal) and rows.shape[1] > 1:
        rows, others = rows[equal], others[equal]
        differs = (rows != others).argmax(axis=1)
        at = np.arange(len(equal))
        lower[equal] = rows[at, differs] < others[at, differs]
    return lower


def _falling(rows: np.ndarray) -> np.ndarray:
    """The places of rows that are lower than all before them."""
    kept, least = [], [math.inf]
    for place, row in enumerate(rows.tolist()):
        if row < least:
            kept.append(place)
            least = row
    return np.array(kept, np.int64)
