"""Thirty thousand samples, in small: memory does not grow with them, and a kill loses nothing.

`python -m tests.eval.simulated 30000` is the whole one.
"""

from __future__ import annotations

import multiprocessing
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tests.eval.simulated import SIDE, simulated, study
from toca.eval.scoring.judges import making
from toca.tuning import quality

FORK = multiprocessing.get_context("fork")
SMALL, LARGE = 64, 128


def peak_of_scoring(output: Path, samples: int) -> int:
    """Bytes that Python and numpy held at most while a study was scored."""
    with simulated():
        made = study(output, samples)
        made.generate()
        tracemalloc.start()
        try:
            made.score()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


def test_scoring_holds_a_chunk_of_pictures_and_not_all_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(making, "vae_distance", lambda pipe: None)  # which is in batches, and takes the longest
    peak_of_scoring(tmp_path / "warm", 2)
    few, many = (peak_of_scoring(tmp_path / f"{count}", count) for count in (SMALL, LARGE))
    pictures = (LARGE - SMALL) * SIDE * SIDE * 3
    assert many - few < pictures  # numbers and notes of each sample, of which its picture is but a part


def killed(output: Path) -> None:
    with simulated():
        study(output, LARGE).generate()


def test_a_kill_loses_no_batch_that_was_done(tmp_path):
    process = FORK.Process(target=killed, args=(tmp_path / "killed",))
    process.start()
    while process.is_alive() and len(list(tmp_path.glob("killed/pictures/*/*.png"))) < LARGE + 100:
        time.sleep(0.002)
    process.kill()
    process.join()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("killed/pictures/full-*/*.png")}
    assert len(before) == LARGE
    with simulated():
        study(tmp_path / "killed", LARGE).generate()
        study(tmp_path / "whole", LARGE).generate()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    ours, theirs = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.png")}
        for name in ("killed", "whole")
    )
    assert ours == theirs and len(ours) == 3 * LARGE


@pytest.mark.parametrize("count", [2, 77, 2000])
def test_draws_in_parts_are_those_of_one_draw(monkeypatch, count):
    values = np.random.default_rng(1).standard_normal(count)
    monkeypatch.setattr(quality, "RESAMPLES", 200)
    draws = np.random.default_rng(0).integers(count, size=(200, count))
    whole = np.quantile(values[draws].mean(axis=1), (0.025, 0.975))
    monkeypatch.setattr(quality, "AT_ONCE", 3 * count + 1)
    assert quality.bootstrap(values.tolist()) == tuple(whole)


def test_many_values_are_drawn_less_often():
    assert [quality.resamples(count) for count in (50, 2000, 5000, 30_000)] == [10_000, 10_000, 4_000, 1_000]
