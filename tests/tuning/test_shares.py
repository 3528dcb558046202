"""Speed-ups from the seconds of single steps, on clocks that go wrong."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import toca
from toca.models import describe, family_of
from toca.plan import Plan
from toca.tuning.shares import speedups

from ..helpers import tiny_flux

LAYOUT = describe(tiny_flux(), family_of(tiny_flux()))
STEPS = 12
FULL = toca.NoCache().plan_layout(LAYOUT, STEPS)


def plan_of(letters: str) -> Plan:
    """Steps that are full, and others that leave out the stack."""
    method = toca.LeMiCa(
        full_steps=tuple(i for i, letter in enumerate(letters) if letter == "F"), num_inference_steps=len(letters)
    )
    plan = method.plan_layout(LAYOUT, len(letters))
    assert plan.steps == letters
    return plan


PLANS = [FULL, *map(plan_of, ("FFaFFaFFaFFF", "FFaFFaFaFaFF", "FFaFaaFaFaFF", "FaaFaaFaaFaF", "FaaaFaaaFaaF"))]


def seconds_of(plan: Plan) -> list[float]:
    first, *others = plan.steps
    return [1.3, *(1.0 if letter == "F" else 0.1 for letter in others[:-1]), 0.95]


def turns_of(plans: list[Plan], slow: Callable[[], float], turns: int = 3) -> list[list[list[float]]]:
    return [[[slow() * second for second in seconds_of(plan)] for plan in plans] for _ in range(turns)]


def true(plan: Plan) -> float:
    return sum(seconds_of(FULL)) / sum(seconds_of(plan))


@given(st.lists(st.floats(0.2, 5), min_size=3, max_size=3))
def test_slow_turns_change_nothing(slow: list[float]) -> None:
    turns = [[[each * second for second in seconds_of(plan)] for plan in PLANS] for each in slow]
    assert speedups(PLANS, turns) == pytest.approx([true(plan) for plan in PLANS])


def test_a_moment_of_the_machine_changes_no_plan() -> None:
    """Where the clock of whole runs would put a plan behind one with a full step more."""
    turns = turns_of(PLANS, lambda: 1.0)
    for turn in turns:
        turn[3][4] += 3.0
    assert sum(turns[0][3]) > sum(turns[0][2])
    assert speedups(PLANS, turns) == pytest.approx([true(plan) for plan in PLANS], rel=0.03)


@given(st.integers(0, 1000))
def test_fewer_full_steps_are_faster_on_a_noisy_clock(seed: int) -> None:
    noise = random.Random(seed)
    told = speedups(PLANS, turns_of(PLANS, lambda: noise.uniform(0.9, 1.1)))
    assert told[0] == 1.0 and told == sorted(told)


def test_the_same_plan_is_as_fast_as_itself() -> None:
    noise = random.Random(0)
    told = speedups([FULL, PLANS[1], FULL], turns_of([FULL, PLANS[1], FULL], lambda: noise.uniform(0.5, 2.0)))
    assert told[0] == told[2] == 1.0


def test_what_keeping_costs_is_a_full_steps_own() -> None:
    """Full steps of a plan that fills steps later take longer than those of the run without a cache."""
    turns = [[[1.0] * STEPS, [1.2 if letter == "F" else 0.1 for letter in PLANS[1].steps]]]
    assert speedups(PLANS[:2], turns)[1] == pytest.approx(12 / (1.2 * 9 + 0.3))
