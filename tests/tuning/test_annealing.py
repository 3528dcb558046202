"""Searches by trying find what trying everything finds, twice the same, and go on where they were stopped."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from toca.tuning.annealing import Cooling, Found, Losses, annealing, hill_climbing
from toca.tuning.budcache import BudCacheSearch
from toca.tuning.moves import neighbours, shifts

FullSteps = tuple[int, ...]


def segment_loss(seed: int, num_steps: int) -> Callable[[FullSteps], float]:
    """A loss like that of a generation: each segment costs more the longer it is, and by where it lies."""
    chance = random.Random(seed)
    dear = [chance.uniform(0.2, 2.0) for _ in range(num_steps)]

    def loss(full: FullSteps) -> float:
        ends = (*full[1:], num_steps)
        return sum(dear[a] * (b - a - 1) ** 2 for a, b in zip(full, ends, strict=True)) / 100

    return loss


def last(search: Iterator[Found[Any]]) -> Found[Any]:
    *_, found = search
    return found


def test_budcache_finds_the_best_of_all_masks_but_once() -> None:
    """Of 1287 it tries a tenth; in one of eight problems it ends at the second best."""
    better = []
    for seed in range(8):
        loss = segment_loss(seed, 14)
        every = [(0, *rest) for rest in itertools.combinations(range(1, 14), 5)]
        found = last(BudCacheSearch(14, 6, seed=seed)(Losses(loss)))
        assert len(found.state) == 6 and found.state[0] == 0 and found.evaluations <= 130
        better.append(sum(loss(full) < found.loss - 1e-9 for full in every))
    assert sorted(better) == [0] * 7 + [1]


def test_it_begins_as_the_authors_do() -> None:
    search = BudCacheSearch(50, 17, seed=3)
    assert search.fixed == 4 and search.start[:4] == (0, 1, 2, 3)
    assert len(set(search.start)) == 17 and search.start == tuple(sorted(search.start)) and search.start[-1] < 50
    losses = Losses(segment_loss(0, 50))
    for _ in itertools.islice(search(losses), 500):
        pass
    assert all(full[:4] == (0, 1, 2, 3) and len(full) == 17 for full in losses.known)


@pytest.mark.parametrize("full_steps", [1, 8])
def test_a_budget_that_leaves_nothing_to_choose(full_steps: int) -> None:
    found = last(BudCacheSearch(8, full_steps)(Losses(segment_loss(0, 8))))
    assert found.state == tuple(range(full_steps)) and found.evaluations == 1


def test_a_search_is_the_same_for_a_seed_and_another_for_another() -> None:
    walks = []
    for seed in (1, 1, 2):
        losses = Losses(segment_loss(0, 20))
        list(BudCacheSearch(20, 8, seed=seed)(losses))
        walks.append(list(losses.known))
    assert walks[0] == walks[1] != walks[2]


def test_a_search_goes_on_where_it_was_stopped() -> None:
    search, loss = BudCacheSearch(20, 8), segment_loss(0, 20)
    whole: Losses[FullSteps] = Losses(loss)
    wanted = last(search(whole))
    first: Losses[FullSteps] = Losses(loss)
    stopped = next(found for found in search(first) if found.evaluations == 40)
    again: Losses[FullSteps] = Losses(loss, known=dict(first.known))
    found = last(search(again))
    assert (found.state, found.loss) == (wanted.state, wanted.loss)
    assert found.evaluations == wanted.evaluations - 40 and found.loss <= stopped.loss
    assert again.known == whole.known


def test_what_is_found_never_gets_worse_and_is_evaluated_once() -> None:
    asked: list[FullSteps] = []
    loss = segment_loss(1, 16)
    losses = Losses(lambda full: asked.append(full) or loss(full))  # type: ignore[func-returns-value]
    values = [found.loss for found in BudCacheSearch(16, 6)(losses)]
    assert values == sorted(values, reverse=True) and len(asked) == len(set(asked)) == losses.evaluations
    assert values[-1] == min(losses.known.values())


def test_a_temperature_falls_from_the_hottest_to_the_coldest() -> None:
    cooling = Cooling(candidates=100, hottest=0.1, coldest=1e-4)
    assert cooling.temperature(0) == 0.1 and cooling.temperature(100) == pytest.approx(1e-4)
    assert cooling.temperature(50) == pytest.approx(math.sqrt(0.1 * 1e-4))
    with pytest.raises(ValueError, match="coldest.*at most 0.05"):
        Cooling(coldest=1.0)


def test_annealing_takes_what_is_worse_as_often_as_it_is_hot() -> None:
    def walk(hottest: float) -> int:
        losses = Losses(lambda state: 0.01 * abs(state))
        cooling = Cooling(400, hottest, hottest)
        for _ in annealing(0, lambda state, chance: state + chance.choice((-1, 1)), losses, cooling):
            pass
        return max(abs(state) for state in losses.known)

    assert walk(1e-6) == 1 < walk(0.03) < walk(10.0)


def test_what_is_no_number_is_worse_than_all() -> None:
    losses = Losses(lambda state: math.nan if state else 1.0)
    assert last(hill_climbing(0, lambda state: (1, 2), losses)).state == 0
    assert losses.known[1] == math.inf


def test_full_steps_move_within_reach_and_the_first_ones_stay() -> None:
    found = set(shifts((0, 1, 6), 9, fixed=2, reach=2))
    assert found == {(0, 1, 4), (0, 1, 5), (0, 1, 7), (0, 1, 8)}
    assert set(shifts((0, 3), 5)) == {(0, 1), (0, 2), (0, 4)}


def test_neighbours_move_a_full_step_or_change_a_label() -> None:
    found = list(dict.fromkeys(neighbours(((0, 1, 4), (0, 2, 1)), 6, 3, reach=1)))
    assert found == [
        ((0, 2, 4), (2, 2, 1)),  # the step that 1 has left is filled as those after it
        ((0, 1, 3), (0, 2, 2)),  # and the one that 4 has left as those before it
        ((0, 1, 3), (0, 2, 1)),  # or after
        ((0, 1, 5), (0, 2, 0)),
        ((0, 1, 4), (0, 0, 1)),
        ((0, 1, 4), (0, 1, 1)),
        ((0, 1, 4), (0, 2, 0)),
        ((0, 1, 4), (0, 2, 2)),
    ]


def test_climbing_over_full_steps_and_labels_finds_the_best_of_both() -> None:
    """A fill that is better early and one that is better late."""

    def loss(choice: tuple[FullSteps, tuple[int, ...]]) -> float:
        full, labels = choice
        ends = (*full[1:], 8)
        cost = {0: lambda step: 1 + step, 1: lambda step: 9 - step}
        segments = zip(full, ends, labels, strict=True)
        return sum(cost[label](step) * (step - a) for a, b, label in segments for step in range(a + 1, b))

    every = [
        ((0, *rest), labels)
        for rest in itertools.combinations(range(1, 8), 3)
        for labels in itertools.product((0, 1), repeat=4)
    ]
    losses = Losses(loss)
    found = last(hill_climbing(((0, 1, 2, 3), (0, 0, 0, 0)), lambda c: neighbours(c, 8, 2), losses))
    assert found.loss == min(map(loss, every))


def test_more_full_steps_than_steps() -> None:
    with pytest.raises(ValueError, match="full_steps.*at most 8"):
        BudCacheSearch(8, 9)
