"""What is compared with what, on made-up numbers."""

from __future__ import annotations

import pytest

from toca.eval.fidelity import PSNR, SSIM, metrics_with
from toca.eval.latency import Timing
from toca.eval.matching import matches, nearest
from toca.eval.parts import DENOISER, TEXT_ENCODER, TOTAL, Memory, PartCosts
from toca.eval.rows import make_row, with_matches
from toca.eval.running import Facts
from toca.eval.speed import Speed
from toca.eval.variants import FEWER_STEPS, Variant
from toca.methods import FORA, NoCache

PROMPTS = (0, 1, 2)


FULL_FLOPS = 2_000_000


def costs(seconds: tuple[float, ...], flops: int, calls: int = 20) -> PartCosts:
    """The text encoder takes a tenth of it, and is not cached."""
    timings = {TEXT_ENCODER: Timing((0.1, 0.1, 0.1)), DENOISER: Timing(seconds), TOTAL: Timing(seconds)}
    counted = {TEXT_ENCODER: 1000, DENOISER: flops, TOTAL: flops + 1000}
    return PartCosts(timings, counted, calls, Memory(resident=3 * 2**30), 8, 2.5 * seconds[-1], 3)


def speed(seconds: float, facts: Facts, flops: int) -> Speed:
    """Three turns, of which the middle one is the median."""
    mine = costs((seconds * 2, seconds, seconds), flops, facts.calls)
    return Speed(facts, mine, costs((2.0, 2.0, 2.0), FULL_FLOPS), "now")


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


def test_a_method_is_matched_by_time_and_by_flops():
    made = matched(method(1.05, [33.0, 33.0, 39.0], flops_speedup=3.6))
    assert (made.at_latency.steps, made.at_latency.is_near) == (10, True)
    assert made.at_latency.speedup == pytest.approx(2 / 1.1)
    gain = made.at_latency.gains[PSNR]
    assert gain.mean == pytest.approx((3 + 2 + 7) / 3)
    assert 2 <= gain.low < gain.mean < gain.high <= 7
    assert made.at_latency.gains[SSIM].mean == 0
    assert (made.at_flops.steps, made.at_flops.speedup) == (5, 4.0)
    assert made.at_flops.gains[PSNR].mean == pytest.approx((13 + 12 + 17) / 3)
    assert matched(method(1.05, [33.0, 33.0, 39.0], flops_speedup=1.9)).at_flops.speedup == 2.0


def test_the_match_of_what_is_far_faster_says_so():
    assert not matched(method(0.2, [25.0, 25.0, 25.0])).at_latency.is_near


def test_what_is_no_faster_is_matched_by_the_full_run_and_gains_nothing():
    match = matched(method(1.98, [50.0, 50.0, 50.0])).at_latency
    assert (match.steps, match.speedup, match.is_near, match.gains[PSNR]) == (20, 1.0, True, None)


def test_identical_samples_are_counted_and_left_out_of_the_gain():
    made = matched(method(1.0, [None, 33.0, 35.0]))
    assert made.identical == 1
    assert made.fidelity[PSNR].mean == 34
    assert made.at_latency.gains[PSNR].mean == pytest.approx((2 + 3) / 2)
    assert matched(method(1.0, [None, None, None])).psnr is None


def test_a_method_that_skips_nothing_is_found_out():
    psnr = [30.0, 30.0, 30.0]
    assert not method(1.0, psnr).skipped_nothing
    assert method(1.0, psnr, flops_speedup=1.0).skipped_nothing
    assert method(1.0, psnr, drawn_flops=1.0).skipped_nothing
    assert not method(1.0, psnr, flops_speedup=1.0, made=NoCache()).skipped_nothing
    assert not UNCACHED[0].skipped_nothing
