"""MagCache: the plan that a calibration of ratios comes to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import toca
from toca.calibration.file import Calibration
from toca.methods.magcache import MagCache
from toca.models import describe, family_of
from toca.models.fingerprint import fingerprint

from .helpers import inputs_for, run_steps, tiny_dit

DIT = fingerprint(describe(tiny_dit(), family_of(tiny_dit())))


def magcache(folder: Path, ratios: list[float], **fields: Any) -> MagCache:
    Calibration("magcache", DIT, len(ratios), {"ratio": ratios}).save(folder / "magcache.json")
    return MagCache(str(folder / "magcache.json"), **fields)


def naive(ratios: list[float], delta: float, most: int, retention: float) -> str:
    """Notes, section 4: after floor(S ret + 1/2) steps p *= gamma_s, e += |1 - p|; skip while e <= delta and
    consecutive <= K, else reset."""
    letters = ""
    p, e, consecutive = 1.0, 0.0, 0
    for s, gamma in enumerate(ratios):
        if s < math.floor(len(ratios) * retention + 0.5) or s == 0:
            letters += "F"
            continue
        p = p * gamma
        e = e + abs(1 - p)
        consecutive = consecutive + 1
        if e <= delta and consecutive <= most:
            letters += "a"
        else:
            letters += "F"
            p, e, consecutive = 1.0, 0.0, 0
    return letters


@given(st.lists(st.floats(0.5, 1.5), min_size=1, max_size=40), st.floats(0, 1), st.integers(0, 6), st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_the_plan_is_the_papers(
    tmp_path_factory: Any, ratios: list, delta: float, most: int, retention: float
) -> None:
    method = magcache(
        tmp_path_factory.mktemp("calibration"), ratios, threshold=delta, max_skip=most, retention=retention
    )
    assert method.plan(tiny_dit(), len(ratios)).steps == naive(ratios, delta, most, retention)


@pytest.mark.parametrize(
    ("ratios", "fields", "steps"),
    [
        ([1.0] * 14, {}, "FaaaaaFaaaaaFa"),  # nothing changes: K skips in a row
        ([1.0] * 14, {"max_skip": 2}, "FaaFaaFaaFaaFa"),
        ([1.0] * 10, {"retention": 0.3}, "FFFaaaaaFa"),
        ([1.0] * 10, {"retention": 0.25, "max_skip": 1}, "FFFaFaFaFa"),  # floor(2.5 + 1/2) = 3
        ([0.9] * 10, {"threshold": 0.3}, "FaaFaaFaaF"),  # 0.1, then 0.1 + 0.19
        ([1.0] * 10, {"max_skip": 0}, "FFFFFFFFFF"),
        ([0.99] * 10, {"threshold": 0.0}, "FFFFFFFFFF"),
    ],
)
def test_by_hand(tmp_path, ratios, fields, steps) -> None:
    assert magcache(tmp_path, ratios, **fields).plan(tiny_dit(), len(ratios)).steps == steps


def test_defaults_are_those_published_for_flux() -> None:
    method = MagCache()
    assert (method.threshold, method.max_skip, method.retention) == (0.24, 5, 0.1)


def dit_by_hand(transformer: Any, call: dict, residual: Tensor | None) -> tuple[Tensor, Tensor]:
    """The output of DiT and what its blocks added; with a residual the blocks do not run, it is added instead."""
    x = entered = transformer.pos_embed(call["hidden_states"])
    given = {"timestep": call["timestep"], "class_labels": call["class_labels"]}
    if residual is None:
        for block in transformer.transformer_blocks:
            x = block(x, **given)
    else:
        x = x + residual
    embedded = transformer.transformer_blocks[0].norm1.emb(*given.values(), hidden_dtype=x.dtype)
    shift, scale = transformer.proj_out_1(F.silu(embedded))[:, None].chunk(2, dim=2)
    tokens = transformer.proj_out_2(transformer.norm_out(x) * (1 + scale) + shift)
    patches = tokens.reshape(len(tokens), 8, 8, 2, 2, 8)
    return patches.permute(0, 5, 1, 3, 2, 4).reshape(len(tokens), 8, 16, 16), x - entered


def test_a_step_left_out_adds_the_residual_of_the_last_one_run(tmp_path) -> None:
    transformer, inputs = tiny_dit(), inputs_for("dit", 8, batch_size=2)
    method = magcache(tmp_path, [1.0] * 8, max_skip=2)
    with toca.cached(transformer, method, num_inference_steps=8):
        got = run_steps(transformer, inputs)
        assert toca.summary(transformer).steps == "FaaFaaFa"
    wanted, residual = [], None
    with torch.no_grad():
        for call, letter in zip(inputs, "FaaFaaFa", strict=True):
            output, added = dit_by_hand(transformer, call, residual if letter == "a" else None)
            residual = added if letter == "F" else residual
            wanted.append(output)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(got[1], run_steps(transformer, inputs)[1], atol=1e-3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threshold": -0.1}, "`threshold`.*-0.1"),
        ({"max_skip": -1}, "`max_skip`.*-1"),
        ({"retention": 1.5}, "`retention`.*1.5"),
        ({"retention": -0.5}, "`retention`.*-0.5"),
    ],
)
def test_wrong_values_are_named(fields, message) -> None:
    with pytest.raises(ValueError, match=message):
        MagCache(**fields)
