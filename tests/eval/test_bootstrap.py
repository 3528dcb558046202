"""Intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from toca.eval.metrics.bootstrap import differences, mean_interval
from toca.tuning import quality


def test_ninety_five_of_a_hundred_intervals_hold_the_truth(monkeypatch):
    monkeypatch.setattr(quality, "RESAMPLES", 500)
    random, hits, widths = np.random.default_rng(1), 0, []
    for _ in range(300):
        interval = mean_interval((5 + 2 * random.standard_normal(40)).tolist(), range(40))
        hits += interval.low <= 5 <= interval.high
        widths.append(interval.high - interval.low)
    assert 0.89 <= hits / 300 <= 0.98
    assert np.mean(widths) == pytest.approx(2 * 1.96 * 2 / np.sqrt(40), rel=0.1)


def test_samples_of_one_prompt_are_drawn_together():
    """Ten copies of each of five values say no more than the five."""
    values = [1.0, 2.0, 3.0, 4.0, 10.0]
    alone = mean_interval(values, range(5))
    copies = mean_interval(values * 10, list(range(5)) * 10)
    assert (copies.mean, copies.low, copies.high, copies.prompts) == pytest.approx((4, alone.low, alone.high, 5))
    independent = mean_interval(values * 10, range(50))
    assert independent.high - independent.low < 0.5 * (alone.high - alone.low)


def test_pairs_are_compared_pair_by_pair():
    """What both have in common is in neither difference nor interval."""
    random = np.random.default_rng(0)
    common = 10 * random.standard_normal(30)
    ours, theirs = common + 1 + 0.1 * random.standard_normal(30), common
    interval = mean_interval(differences(ours.tolist(), theirs.tolist(), 1), range(30))
    assert interval.mean == pytest.approx(1, abs=0.1)
    assert interval.high - interval.low < 0.2
    unpaired = mean_interval(ours.tolist(), range(30))
    assert unpaired.high - unpaired.low > 3


def test_a_sign_turns_less_into_more():
    assert differences([0.25, None, 1.0], [0.75, 1.0, None], -1) == [0.5, None, None]


def test_what_has_no_value_is_left_out():
    assert mean_interval([None, 0.0, 4.0], range(3)).mean == 2
    assert mean_interval([None, 0.0, 4.0], range(3)).prompts == 2
    assert mean_interval([None, None], range(2)) is None


def test_one_prompt_has_no_interval():
    interval = mean_interval([2.0, 4.0], [7, 7])
    assert (interval.mean, interval.low, interval.high) == (3, None, None)


def test_the_same_values_give_the_same_interval():
    values = np.random.default_rng(0).standard_normal(12).tolist()
    assert mean_interval(values, range(12)) == mean_interval(values, range(12))
