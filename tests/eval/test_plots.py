"""One look for each method in every plot, names that cover nothing, and no outlier that leaves no room for others."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

import toca
from tests.eval.test_page import named, results
from toca.eval.metrics.bootstrap import Interval
from toca.eval.metrics.fidelity import PSNR
from toca.eval.metrics.metric import Heading
from toca.eval.peers import peers
from toca.eval.report.curves import fidelity, find_curves
from toca.eval.report.drawing import draw_axes, list_names, within
from toca.eval.report.looks import COLOURS, MARKERS, METHODS, look_of
from toca.eval.report.names import name_points
from toca.eval.report.plot import draw
from toca.eval.report.scales import scale_of


def test_every_method_and_peer_has_a_look_of_its_own_whatever_is_beside_it():
    known = [*toca.methods(), *peers()]
    assert set(known) <= set(METHODS)
    looks = {(look.colour, look.marker) for look in map(look_of, METHODS)}
    assert len(looks) == len(METHODS) < len(COLOURS) * len(MARKERS)
    assert [name for name in METHODS if look_of(name).hollow] == list(peers())
    assert look_of("toca/pixart") == look_of("toca/flux") == look_of("toca")
    labels = [look_of(f"label {i}") for i in range(50)]
    assert not looks & {(look.colour, look.marker) for look in labels} and len(set(labels)) > 5


def test_a_method_looks_the_same_whoever_else_was_measured():
    alone = [named("dmd", "dmd", 1.0, [31.0, 32.0, 33.0])]
    beside = [named("fora", "fora", 0.9, [30.0, 31.0, 32.0]), *alone]
    quantity = fidelity(PSNR, results().metrics[PSNR])
    looks = [{each.name: each.look for each in find_curves(results(rows), quantity)} for rows in (alone, beside)]
    assert looks[0]["dmd"] == looks[1]["dmd"] != looks[1]["fora"]


def drawn(rows):
    found, figure = results(rows), Figure(figsize=(8, 5), layout="constrained")
    axes, quantity = figure.add_subplot(), fidelity(PSNR, found.metrics[PSNR])
    curves = find_curves(found, quantity)
    draw_axes(axes, found, quantity, curves)
    list_names(figure, curves, "outside right upper")
    name_points(figure, axes, found, quantity, curves)
    figure.draw_without_rendering()
    return figure, axes, curves


def test_no_name_covers_a_point_or_another_name_and_all_are_in_the_list():
    rows = [named(f"method {i}", f"method {i}", 1.0 - 0.01 * i, [30.0 + i % 3] * 3) for i in range(12)]
    figure, axes, curves = drawn(rows)
    names = {curve.name for curve in curves}
    written = [text for text in axes.texts if text.get_text() in names]
    assert 0 < len(written) < len(names)
    boxes = [text.get_window_extent() for text in written]
    points = axes.transData.transform([point for curve in curves for point in curve.line])
    assert not any(box.contains(*point) for box in boxes for point in points)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert names <= {text.get_text() for text in figure.legends[0].get_texts()}


def test_a_point_far_from_all_others_is_at_the_edge_with_its_figures():
    usual = [named(f"m{i}", f"m{i}", 1.0 - 0.05 * i, [30.0 + i] * 3) for i in range(5)]
    _, axes, _ = drawn([*usual, named("far", "far", 1.0, [-300.0] * 3)])
    low, high = axes.get_ylim()
    assert 15 < low < 21 and 40 < high < 45
    assert "-300 at 2×" in [text.get_text() for text in axes.texts]
    _, axes, _ = drawn(usual)
    assert not any(" at " in text.get_text() for text in axes.texts)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("psnr", [31.0, 0.0])
def test_scores_that_are_all_alike_but_one_have_room_around_them(psnr):
    alike = [named(f"m{i}", f"m{i}", 1.0 - 0.02 * i, [psnr] * 3) for i in range(16)]
    _, axes, _ = drawn([*alike, named("far", "far", 1.0, [90.0] * 3)])
    low, high = axes.get_ylim()
    assert low < psnr < high < 40
    assert "90 at 2×" in [text.get_text() for text in axes.texts]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("steps", [[16], []])
def test_runs_without_a_cache_are_drawn_alone_and_the_full_one_without_a_point(steps, tmp_path):
    found = results([])
    uncached = [row for row in found.uncached if row.num_inference_steps in (*steps, 20)]
    draw(replace(found, uncached=uncached), tmp_path / "plot.png")
    assert len(uncached) == 1 + len(steps) and (tmp_path / "plot.png").stat().st_size > 5_000


@pytest.mark.parametrize("values", [[1.0, 2.0, 900.0], [1.0, 2.0, 3.0, 4.0, 5.0, 12.0]])
def test_few_points_and_those_of_a_spread_are_all_near(values):
    assert within(np.array(values)).all()


def test_what_is_nearly_all_kept_is_told_in_decibels():
    ssim = scale_of("ssim", Heading("SSIM", 3, 1, "float"))
    assert (ssim.label, ssim.sign) == ("SSIM dB, float", 1)
    assert ssim.hint == "−10 log10(1 − SSIM), of the mean; more is better"
    shown = ssim.of(Interval(0.9995, 0.999, 0.9999, 3))
    assert (shown.mean, shown.low, shown.high) == pytest.approx((33.01, 30, 40), abs=0.01)
    assert ssim.of(Interval(1.0, 1.0, 1.0, 3)) is None
    assert math.isinf(ssim.of(Interval(0.9995, 0.999, 1.0, 3)).high)
    distance = scale_of("perceptual", Heading("VAE-LPIPS", 4, -1))
    shown = distance.of(Interval(0.001, 0.0001, 0.01, 3))
    assert (shown.mean, shown.low, shown.high) == pytest.approx((30, 20, 40))
    assert (distance.label, distance.sign) == ("VAE-LPIPS dB", 1)
    psnr = scale_of(PSNR, Heading("PSNR dB", 1, 1))
    assert psnr.of(Interval(40.0, 39.0, 41.0, 3)) == Interval(40.0, 39.0, 41.0, 3) and psnr.label == "PSNR dB"
