"""What is compared with what, on made-up numbers."""

from __future__ import annotations

import pytest

from toca.eval.findings.matching import at_equal_time, matches, nearest
from toca.eval.findings.results import EQUAL, LONGER, SHORTER
from toca.eval.findings.rows import make_row, with_matches
from toca.eval.metrics.fidelity import PSNR, SSIM
from toca.eval.samples.running import Facts
from toca.eval.timing.latency import Timing
from toca.eval.timing.parts import DENOISER, TEXT_ENCODER, TOTAL, PartCosts, Peak
from toca.eval.timing.rivals import Rivals
from toca.eval.timing.speed import Speed
from toca.eval.variants import FEWER_STEPS, Variant
from toca.methods import FORA, NoCache

from .fidelities import metrics_with

PROMPTS = (0, 1, 2)


FULL_FLOPS = 2_000_000


def costs(seconds: tuple[float, ...], flops: int, calls: int = 20) -> PartCosts:
    """The text encoder takes a tenth of it, and is not cached."""
    timings = {TEXT_ENCODER: Timing((0.1, 0.1, 0.1)), DENOISER: Timing(seconds), TOTAL: Timing(seconds)}
    counted = {TEXT_ENCODER: 1000, DENOISER: flops, TOTAL: flops + 1000}
    return PartCosts(timings, counted, calls, Peak(resident=3 * 2**30), 8, 2.5 * seconds[-1], 3)


def speed(seconds: float, facts: Facts, flops: int) -> Speed:
    """Three turns, of which the middle one is the median."""
    mine = costs((seconds * 2, seconds, seconds), flops, facts.calls)
    return Speed(facts, mine, costs((2.0, 2.0, 2.0), FULL_FLOPS), Rivals(60.0, 0.0, 0), "now")


def row(
    variant: Variant,
    seconds: float,
    psnr: list,
    facts: Facts,
    flops: float,
    drawn_flops: float = 2.0,
    bypassed: int = 0,
):
    drawn = {"steps": {facts.steps: 1}, "flops_speedup": drawn_flops, "bypassed": bypassed}
    samples = {PSNR: psnr, SSIM: [0.9, 0.8, 0.7]}
    return make_row(variant, variant.steps or 20, drawn, speed(seconds, facts, round(flops)), samples, PROMPTS)


def fewer(steps: int, seconds: float, psnr: list):
    variant = Variant(f"{steps} steps", FEWER_STEPS, steps=steps)
    return row(variant, seconds, psnr, Facts(calls=steps), FULL_FLOPS * steps / 20)


def method(seconds: float, psnr: list, flops_speedup: float = 2.0, made=None, **extra):
    facts = Facts(calls=20, steps="FrFr", flops=100, flops_full=200, cache_bytes=8)
    flops = FULL_FLOPS / flops_speedup
    return row(Variant("fora interval=2", "fora", made or FORA(2)), seconds, psnr, facts, flops, **extra)


UNCACHED = [
    fewer(5, 0.5, [20.0, 21.0, 22.0]),
    fewer(10, 1.1, [30.0, 31.0, 32.0]),
    fewer(16, 1.7, [40.0, 41.0, 42.0]),
    fewer(20, 2.0, [None, None, None]),
]


def matched(row):
    return with_matches(row, UNCACHED, metrics_with(None), PROMPTS)


def test_the_nearest_is_nearest_by_ratio():
    assert nearest(2.0, {5: 4.0, 10: 1.9, 20: 1.0}) == 10
    assert nearest(1.4, {10: 2.0, 20: 1.0}) == 20
    assert nearest(1.43, {10: 2.0, 20: 1.0}) == 10
    assert nearest(9.0, {5: 4.0, 10: 2.0}) == 5


def test_what_is_within_the_tolerance_matches_either_way():
    assert matches(2.0, 2.29) and matches(2.29, 2.0)
    assert not matches(2.0, 2.31) and not matches(2.31, 2.0)


def test_speed_ups_are_medians_of_the_ratios_and_flops_are_the_counted_ones():
    made = method(1.0, [33.0, 34.0, 35.0])
    assert made.speedup == 2.0
    assert made.loop_speedup[1] == 1.5  # the turns' ratios are 1, 2, 2
    assert made.flops_speedup == 2.0
    assert made.wall_over_flops == 1.0
    assert (made.steps, made.cache_bytes) == ("FrFr", 8)
    assert UNCACHED[1].flops_speedup == 2.0
    assert UNCACHED[0].flops_speedup == 4.0


def test_equal_time_is_a_mean_of_two_neighbours():
    assert at_equal_time(2.0, [4.0, 2.0, 1.0]) == {1: 1.0}
    between = at_equal_time(1.5, [4.0, 2.0, 1.0])
    assert between == {2: pytest.approx(1 / 3), 1: pytest.approx(2 / 3)}  # 1/3 of 1 s and 2/3 of 1/2 s are 2/3 s
    assert at_equal_time(9.0, [4.0, 2.0]) == {0: 1.0} and at_equal_time(1.2, [4.0, 2.0]) == {1: 1.0}
    assert at_equal_time(2.0, [2.0, 2.0]) == {0: 1.0}


def test_a_little_outside_the_line_of_the_nearest_two_is_followed():
    speedups = [4.0, 2.5, 2.0]
    for target in (1.95, 4.1):
        weights = at_equal_time(target, speedups)
        assert len(weights) == 2 and min(weights.values()) < 0 and sum(weights.values()) == pytest.approx(1)
        assert sum(weight / speedups[i] for i, weight in weights.items()) == pytest.approx(1 / target)
    assert at_equal_time(1.95, speedups).keys() == {1, 2} and at_equal_time(4.1, speedups).keys() == {0, 1}
    assert at_equal_time(1.9, speedups) == {2: 1.0} and at_equal_time(4.3, speedups) == {0: 1.0}
    assert at_equal_time(1.95, [2.0, 2.0]) == {0: 1.0}


def test_a_method_is_matched_by_time_and_by_flops():
    made = matched(method(0.98, [33.0, 33.0, 39.0], flops_speedup=3.6))
    match = made.at_latency
    # 0.98 s are 0.8 of the way from 0.5 s to 1.1 s, and so 9 steps with 8 dB more than 5.
    assert (match.steps, match.between, match.takes) == (pytest.approx(9), (5, 10), EQUAL)
    assert match.speedup == pytest.approx(made.speedup) and match.text == "9 steps"
    gain = match.gains[PSNR]
    assert gain.mean == pytest.approx((33 - 28 + 33 - 29 + 39 - 30) / 3)
    assert 4 <= gain.low < gain.mean < gain.high <= 9
    assert match.gains[SSIM].mean == pytest.approx(0)
    # By FLOPs 5 steps are 4 times as fast and 10 twice.
    weight = (1 / 3.6 - 1 / 4) / (1 / 2 - 1 / 4)
    assert made.at_flops.steps == pytest.approx(5 + 5 * weight)
    assert made.at_flops.gains[PSNR].mean == pytest.approx(35 - 21 - 10 * weight)
    exact = matched(method(1.05, [33.0, 33.0, 39.0], flops_speedup=2.0)).at_flops
    assert (exact.steps, exact.between, exact.takes, exact.speedup) == (10, (10,), EQUAL, 2.0)


def test_what_no_number_of_steps_is_as_fast_as_is_compared_with_what_takes_longer():
    match = matched(method(0.2, [25.0, 25.0, 25.0])).at_latency
    assert (match.between, match.takes, match.text) == ((5,), LONGER, "5 steps, 4.00×")


def test_between_the_full_run_and_fewer_steps_the_latter_take_less_time():
    match = matched(method(1.9, [50.0, 50.0, 50.0])).at_latency
    assert (match.between, match.takes, match.text) == ((16,), SHORTER, "16 steps, 1.18×")
    assert match.gains[PSNR].mean == pytest.approx(9)


def test_what_is_no_faster_is_matched_by_the_full_run_and_gains_nothing():
    match = matched(method(2.2, [50.0, 50.0, 50.0])).at_latency
    assert (match.steps, match.speedup, match.takes, match.gains[PSNR]) == (20, 1.0, SHORTER, None)


def test_identical_samples_are_counted_and_left_out_of_the_gain():
    made = matched(method(1.0, [None, 33.0, 35.0]))
    assert made.identical == 1
    assert made.fidelity[PSNR].mean == 34
    # 9.17 steps have 29.33 and 30.33 dB in the two that differ.
    assert made.at_latency.gains[PSNR].mean == pytest.approx(34 - 29.83, abs=0.01)
    assert matched(method(1.0, [None, None, None])).psnr is None


def test_a_method_that_skips_nothing_is_found_out():
    psnr = [30.0, 30.0, 30.0]
    assert not method(1.0, psnr).skipped_nothing
    assert method(1.0, psnr, flops_speedup=1.0).skipped_nothing
    assert method(1.0, psnr, drawn_flops=1.0).skipped_nothing
    assert not method(1.0, psnr, flops_speedup=1.0, made=NoCache()).skipped_nothing
    assert not UNCACHED[0].skipped_nothing
