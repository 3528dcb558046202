from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from toca.pipelines.compare import PANEL, Comparison, draw_comparison, mean_psnr

FACTS = Comparison("a red owl", "toca/pixart", "FttFtt", (0.84, 0.42), 1.77, 31.25)


def picture(value: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new("RGB", size, (value, value, value))


def test_psnr_is_that_of_the_definition():
    # A difference of 5 everywhere: 10 log10(255^2 / 25).
    assert mean_psnr([picture(10)], [picture(15)]) == pytest.approx(10 * math.log10(255**2 / 25))


def test_psnr_is_averaged_over_pairs_and_identical_pairs_are_left_out():
    values = [mean_psnr([picture(10)], [picture(10 + d)]) for d in (5, 20)]
    pairs = [picture(10)] * 3, [picture(15), picture(30), picture(10)]
    assert mean_psnr(*pairs) == pytest.approx(sum(values) / 2)


def test_identical_pictures_say_so():
    assert math.isinf(mean_psnr([picture(10)], [picture(10)]))
    assert replace(FACTS, psnr=math.inf).psnr_text == "identical"


def test_speed_up_is_full_over_cached():
    assert FACTS.wall_speedup == 2.0


def test_baseline_is_on_the_left_and_cached_on_the_right():
    drawn = np.asarray(draw_comparison([picture(10)], [picture(200)], FACTS))
    middle = drawn[len(drawn) // 2, :, 0]
    assert middle[len(middle) // 4] == 10
    assert middle[3 * len(middle) // 4] == 200


@pytest.mark.parametrize("size", [(8, 8), (64, 64), (96, 32), (500, 900)])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_size_and_number_of_images_fits(size, count):
    images = [picture(100, size)] * count
    drawn = draw_comparison(images, images, FACTS)
    assert drawn.mode == "RGB"
    assert drawn.width > 2 * min(PANEL, size[0])


@pytest.mark.parametrize("title", ["", "owl " * 200, "сова на проводе"])
def test_any_title_fits(title):
    drawn = draw_comparison([picture(1)], [picture(2)], replace(FACTS, title=title, steps="F" * 300))
    margin = np.asarray(drawn)[:, -4:]
    assert (margin == 255).all()
