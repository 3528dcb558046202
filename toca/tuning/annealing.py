"""Search by trying: simulated annealing and steepest hill climbing over anything that can be compared and moved.

Both are iterators that say after each evaluation what is best so far, so that whoever runs them stops when the time is
up and goes on later. Both are functions of their arguments alone, so that with the losses that an earlier run has kept
they walk the same way again, at no cost, and on.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from ..checks import SomeSteps, Within, check, check_fields

State = TypeVar("State", bound=Hashable)


@dataclass(frozen=True)
class Found(Generic[State]):
    """The best so far.

    Args:
        state: What it is.
        loss (`float`): How good; lower is better.
        evaluations (`int`): Losses that it took, those known beforehand aside.
    """

    state: State
    loss: float
    evaluations: int


class Losses(Generic[State]):
    """A loss that is asked for once for each state, and the best that it has seen.

    Args:
        loss (`Callable`): Of a state; what is not a number counts as infinite.
        known (`dict`, *optional*): Losses of an earlier run. Those that are new are added to it.
    """

    def __init__(self, loss: Callable[[State], float], known: dict[State, float] | None = None) -> None:
        self._loss = loss
        self.known: dict[State, float] = {} if known is None else known
        self.evaluations = 0
        self._best: tuple[State, float] | None = None

    def __call__(self, state: State) -> float:
        if state not in self.known:
            self.evaluations += 1
            loss = float(self._loss(state))
            self.known[state] = math.inf if math.isnan(loss) else loss
        loss = self.known[state]
        if self._best is None or loss < self._best[1]:
            self._best = state, loss
        return loss

    @property
    def best(self) -> Found[State]:
        assert self._best is not None, "nothing has been evaluated"
        return Found(*self._best, self.evaluations)

    def compare(self, states: Iterable[State]) -> Iterator[tuple[State, float]]:
        """Each of them with its loss; more than one that is the same but once."""
        for state in dict.fromkeys(states):
            yield state, self(state)


@dataclass(frozen=True)
class Cooling:
    """How simulated annealing cools down: in candidate i of n to `hottest * (coldest / hottest) ** (i / n)`.

    Args:
        candidates (`int`, defaults to 200): n.
        hottest, coldest (`float`, defaults to 0.05 and 1e-5): In the unit of the loss. BudCache's for FLUX.1-dev; for
            Wan it takes 0.1 and 1e-4.

    Raises:
        ValueError: If a value is out of range, or it would warm up.
    """

    candidates: SomeSteps = 200
    hottest: Annotated[float, Within(0, 1e12, open=True)] = 0.05
    coldest: Annotated[float, Within(0, 1e12, open=True)] = 1e-5

    def __post_init__(self) -> None:
        check_fields(self)
        check(self.coldest <= self.hottest, "coldest", self.coldest, f"must be at most {self.hottest:g}, the hottest")

    def temperature(self, candidate: int) -> float:
        return self.hottest * (self.coldest / self.hottest) ** (candidate / self.candidates)


def annealing(
    start: State,
    move: Callable[[State, random.Random], State],
    losses: Losses[State],
    cooling: Cooling,
    seed: int = 0,
) -> Iterator[Found[State]]:
    """From a state to a random neighbour if it is better, or by a chance of `exp(-(how much worse) / temperature)`.

    Args:
        start: Where to begin.
        move (`Callable`): One random step away from a state.
        losses (`Losses`): Of states; they hold the best in the end.
        cooling (`Cooling`): The temperature.
        seed (`int`, defaults to 0): Of moves and of the chance to accept them.

    Yields:
        `Found`: The best so far, after the start and each candidate.
    """
    chance = random.Random(seed)
    state, loss = start, losses(start)
    yield losses.best
    for candidate in range(cooling.candidates):
        other = move(state, chance)
        value = losses(other)
        # Drawn each time, so that the walk is the same whatever floating point makes of a loss that is equal.
        drawn = chance.random()
        if value < loss or drawn < math.exp((loss - value) / cooling.temperature(candidate)):
            state, loss = other, value
        yield losses.best


def hill_climbing(
    start: State,
    neighbours: Callable[[State], Iterable[State]],
    losses: Losses[State],
    rounds: int = 20,
) -> Iterator[Found[State]]:
    """To the best neighbour of all as long as it is better.

    Args:
        start: Where to begin.
        neighbours (`Callable`): All moves from a state; the same each time that it is asked.
        losses (`Losses`): Of states; they hold the best in the end.
        rounds (`int`, defaults to 20): Moves at most.

    Yields:
        `Found`: The best so far, after the start and each neighbour.
    """
    state, loss = start, losses(start)
    yield losses.best
    for _ in range(rounds):
        best, least = state, loss
        for other, value in losses.compare(neighbours(state)):
            if value < least:
                best, least = other, value
            yield losses.best
        if best == state:
            return
        state, loss = best, least
