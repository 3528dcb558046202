"""Drawings of plans and calibrations as files, whatever their names and titles are."""

from __future__ import annotations

from pathlib import Path

import pytest

import toca
from tests.helpers import tiny_dit
from toca.calibration.charts import Chart, draw_charts

BEGINS = {"png": b"\x89PNG", "PNG": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
TITLES = ["$\\frac{$", "cost in $ and $", "a_{b", "$" * 5, "\x1b[31mred\x00", "<b>&amp;</b>"]


@pytest.mark.parametrize("suffix", BEGINS)
def test_the_format_is_the_names(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plan.{suffix}"
    toca.FORA(interval=2).plan(tiny_dit(), 4).draw(path)
    assert path.read_bytes().startswith(BEGINS[suffix])
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["plan", "plan.jpg", "plan.html", ".png", "plan."])
def test_another_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"written as \.png, \.pdf, \.svg, and .* ends in none"):
        toca.FORA(interval=2).plan(tiny_dit(), 4).draw(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("title", TITLES)
def test_no_text_is_a_formula(tmp_path: Path, title: str) -> None:
    chart = Chart(title, {title: [1.0, 0.5]}, (False, True), limit=(title, 0.5))
    draw_charts([chart], title, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 1000
