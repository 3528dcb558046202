"""SmoothCache: the schedule that a calibration of errors comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toca
from toca.calibration.file import Calibration
from toca.methods.smoothcache import SmoothCache
from toca.models import describe, family_of
from toca.models.fingerprint import fingerprint

from .helpers import TINY, inputs_for, run_steps, tiny_dit, tiny_pixart

LAYOUTS = {family: describe(model, family_of(model)) for family, model in ((f, TINY[f]()) for f in TINY)}


def method_of(folder: Path, family: str, errors: dict[str, list[list[float]]], **fields: Any) -> SmoothCache:
    """SmoothCache with errors[curve][step][lag - 1] of a tiny model."""
    steps = len(next(iter(errors.values())))
    made = Calibration("smoothcache", fingerprint(LAYOUTS[family]), steps, errors)
    made.save(folder / "smoothcache.json")
    return SmoothCache(str(folder / "smoothcache.json"), **fields)


def naive(errors: list[list[float]], alpha: float, max_lag: int) -> list[bool]:
    """Whether each step computes. The paper, word for word: at a step that computes take the largest lag whose error
    is at most alpha, skip the steps up to it, compute the one after; the first and the last compute."""
    steps = len(errors)
    computes = [True] * steps
    i = 0
    while i < steps:
        best = 0
        for k in range(1, max_lag + 1):
            if i + k < steps and errors[i + k][k - 1] <= alpha:
                best = k
        for skipped in range(i + 1, i + best + 1):
            computes[skipped] = False
        i = i + best + 1
    computes[0] = computes[-1] = True
    return computes


tables = st.integers(1, 24).flatmap(
    lambda steps: st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=steps, max_size=steps)
)


@given(tables, st.floats(0, 1), st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_the_schedule_is_the_papers(tmp_path_factory: Any, errors: list, alpha: float, max_lag: int) -> None:
    folder = tmp_path_factory.mktemp("calibration")
    others = [[1.0] * 3] * len(errors)
    curves = {"main.self_attn": errors, "main.ff": others}
    method = method_of(folder, "dit", curves, alpha=alpha, max_lag=max_lag)
    plan = method.plan(tiny_dit(), len(errors))
    for layer in range(3):
        got = [plan[step, layer, "self_attn"].kind == "compute" for step in range(len(errors))]
        assert got == naive(errors, alpha, max_lag)
        got = [plan[step, layer, "ff"].kind == "compute" for step in range(len(errors))]
        assert got == naive(others, alpha, max_lag)


def flat(family: str, steps: int, *by_lag: float) -> dict[str, list[list[float]]]:
    names = {f"{site.stack}.{site.module}" for site in LAYOUTS[family].sites}
    return {name: [list(by_lag)] * steps for name in sorted(names)}


@pytest.mark.parametrize(
    ("alpha", "max_lag", "steps"),
    [
        (0.05, 3, "FFFFFFFFFF"),
        (0.1, 3, "FrFrFrFrFF"),
        (0.25, 3, "FrrFrrFrrF"),
        (0.3, 3, "FrrrFrrrFF"),
        (0.3, 2, "FrrFrrFrrF"),
        (0.3, 1, "FrFrFrFrFF"),
    ],
)
@pytest.mark.parametrize("family", TINY)
def test_errors_that_grow_with_the_lag_alone(tmp_path, family, alpha, max_lag, steps) -> None:
    """An error at alpha passes; of a run of skips that reaches the last step, the last step computes."""
    method = method_of(tmp_path, family, flat(family, 10, 0.1, 0.2, 0.3), alpha=alpha, max_lag=max_lag)
    assert method.plan(TINY[family](), 10).steps == steps


def test_a_far_lag_may_pass_where_a_near_one_does_not(tmp_path) -> None:
    method = method_of(tmp_path, "dit", flat("dit", 5, 0.9, 0.9, 0.1), alpha=0.1)
    assert method.plan(tiny_dit(), 5).steps == "FrrrF"


def test_each_kind_of_module_goes_its_own_way(tmp_path) -> None:
    errors = flat("pixart", 6, 0.1, 0.2, 0.3)
    errors["main.cross_attn"] = [[0.0] * 3] * 6
    plan = method_of(tmp_path, "pixart", errors, alpha=0.15).plan(tiny_pixart(), 6)
    assert [plan[step, 1, "cross_attn"].kind[0] for step in range(6)] == list("crrrcc")
    assert [plan[step, 1, "ff"].kind[0] for step in range(6)] == list("crcrcc")


@pytest.mark.parametrize("family", TINY)
def test_a_schedule_of_equal_kinds_is_foras(tmp_path, family) -> None:
    """Every third step full, whoever says so, is the same generation."""
    transformer, inputs = TINY[family](), inputs_for(family, 7)
    method = method_of(tmp_path, family, flat(family, 7, 0.0, 0.0, 1.0))
    outputs = []
    for chosen in (method, toca.FORA(interval=3, counts_down=False)):
        with toca.cached(transformer, chosen, num_inference_steps=7):
            outputs.append(run_steps(transformer, inputs))
            assert toca.summary(transformer).steps == "FrrFrrF"
    assert all(a.equal(b) for a, b in zip(*outputs, strict=True))


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"alpha": -0.1}, "`alpha`.*-0.1"), ({"alpha": float("nan")}, "`alpha`.*nan"), ({"max_lag": 0}, "`max_lag`.*0")],
)
def test_wrong_values_are_named(fields, message) -> None:
    with pytest.raises(ValueError, match=message):
        SmoothCache(**fields)
