"""Free composition: each axis of a `CacheMethod` does what the method does that it is taken from."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toca
from toca.plan import Plan
from toca.registry import from_data, to_data

from .helpers import TINY, inputs_for, relative_error, run_steps

STEPS = 8
WHENS: dict[str, Any] = {
    "interval": toca.FORA(interval=3, counts_down=False),
    "adaptive": toca.preset("toca/pixart"),
    "gate": toca.EasyCache(threshold=0.3, warmup_steps=2),
    "gate-block": toca.FBCache(threshold=0.5),
}
WHICHES: dict[str, Any] = {
    "nothing": None,
    "tokens": toca.RandomTokens(fresh_ratio=0.3),
    "scored": toca.ToCa(fresh_ratio=0.3, score="value_norm"),
    "stack": toca.TeaCache(),
}
FILLS: dict[str, Any] = {"reuse": None, "forecast": toca.TaylorSeer(order=1)}
EVERY = list(itertools.product(WHENS, WHICHES, FILLS))


def combination(when: str, which: str, fill: str) -> toca.CacheMethod:
    return toca.CacheMethod(when=WHENS[when], which=WHICHES[which], fill=FILLS[fill])


@pytest.mark.parametrize(("when", "which", "fill"), EVERY)
def test_each_axis_is_that_of_its_method(when: str, which: str, fill: str) -> None:
    transformer = TINY["pixart"]()
    plan = combination(when, which, fill).plan(transformer, STEPS)
    clock = WHENS[when].plan(transformer, STEPS)
    letter = {"nothing": "r", "tokens": "t", "scored": "t", "stack": "a"}[which]
    letter = "y" if fill == "forecast" and letter in "ra" else letter
    if when == "gate-block" and letter == "r":
        letter = "m"  # the probed block computes
    assert plan.steps == "".join("F" if a == "F" else letter for a in clock.steps)
    assert plan.gate == clock.gate and plan.fill == (FILLS[fill] and FILLS[fill].filling())
    assert plan.selection == (WHICHES[which].selection() if which in ("tokens", "scored") else None)


@pytest.mark.parametrize("family", TINY)
@pytest.mark.parametrize(("when", "which", "fill"), EVERY)
def test_every_combination_runs(family: str, when: str, which: str, fill: str) -> None:
    """It skips something, is not the uncached output, and survives as data."""
    method = combination(when, which, fill)
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=2)
    stock = run_steps(transformer, inputs)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        got = run_steps(transformer, inputs)
        summary = toca.summary(transformer)
    assert summary.method == method.label
    full = [i for i, letter in enumerate(summary.steps) if letter == "F"]
    assert all(relative_error(got[i], stock[i]) < 1e-5 for i in full)
    assert all(relative_error(got[i], stock[i]) > 1e-4 for i in range(STEPS) if i not in full)
    assert from_data(json.loads(json.dumps(to_data(method)))) == method


def test_without_other_axes_it_is_the_method_itself() -> None:
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    outputs = []
    for method in (toca.FORA(interval=3), toca.CacheMethod(when="fora")):
        with toca.cached(transformer, method, num_inference_steps=STEPS):
            outputs.append(run_steps(transformer, inputs))
    assert all(relative_error(a, b) == 0 for a, b in zip(*outputs, strict=True))


def test_names_stand_for_methods_and_presets() -> None:
    by_name = toca.CacheMethod(when="easycache", which="toca/pixart", fill="taylorseer")
    assert by_name == toca.CacheMethod(toca.EasyCache(), toca.preset("toca/pixart"), toca.TaylorSeer())
    assert by_name.label == "easycache x toca x taylorseer"
    with pytest.raises(ValueError, match="'nope': did you mean none"):
        toca.CacheMethod(when="nope")
    with pytest.raises(ValueError, match="forecasts.*got fora"):
        toca.CacheMethod(when="fora", fill="fora")


def test_what_does_not_fit_is_refused_on_every_axis() -> None:
    deep = toca.DBCache(first_blocks=8)
    for method in (toca.CacheMethod(when=deep), toca.CacheMethod(when="fora", which=deep)):
        with pytest.raises(ValueError, match="8 \\+ 0"):
            method.plan(TINY["dit"](), STEPS)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(EVERY), st.sampled_from(sorted(TINY)), st.sampled_from([".yaml", ".json"]))
def test_its_plan_survives_a_file(tmp_path_factory: Any, axes: tuple[str, str, str], family: str, suffix: str) -> None:
    plan = combination(*axes).plan(TINY[family](), STEPS)
    path = tmp_path_factory.mktemp("plans") / f"plan{suffix}"
    plan.save(path)
    assert Plan.load(path) == plan
