"""Each image for itself against the whole batch: what the figures are made of."""

from __future__ import annotations

import numpy as np
import pytest

from toca.eval.benchmarks import per_sample
from toca.methods.fbcache import FBCache
from toca.pipelines.config import GenerationConfig

from ..helpers import tiny_pixart_pipeline


def test_every_way_of_making_a_batch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(per_sample, "METHODS", {"fbcache": FBCache(threshold=0.4)})
    config = GenerationConfig(prompt="x", num_inference_steps=8)
    maker = per_sample.Maker(tiny_pixart_pipeline(), config, ("a red owl", "the big moon on a tree", "running"))
    rows = per_sample.measure(maker, repeats=1)
    uncached, together, each, alone = rows
    assert [row.decides for row in rows] == ["uncached", "whole batch", "each image", "one at a time"]
    assert uncached.speedup == uncached.flops_speedup == 1 and uncached.psnr is None
    assert each.steps == alone.steps and len(set(each.steps)) == each.courses > 1
    # Where images differ what stands outside of the blocks runs once more.
    assert 1 < each.flops_speedup <= alone.flops_speedup
    assert each.largest_difference_to_alone <= 1 and alone.psnr_to_alone is None
    assert together.passes == 1 == together.courses < each.passes <= 2
    assert together.largest_difference_to_alone > 1 and together.psnr_to_alone < each.psnr_to_alone
    per_sample.print_rows(rows)
    assert "whole batch" in capsys.readouterr().out


def test_psnr_of_those_that_differ() -> None:
    same, other = np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4, 3), np.uint8)
    assert per_sample._psnr(same, other) is None
    other[1] = 255
    assert per_sample._psnr(same, other) == 0
