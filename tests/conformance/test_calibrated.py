"""The promises, for methods whose plan comes from a calibration of the very model.

What they do in a step other methods do too; here it is sites that go their own ways, and blocks left out by a plan.
TeaCache's gate is among the methods of every test.
"""

from __future__ import annotations

from typing import Any

import pytest

import toca

from ..calibrated import calibrated
from ..helpers import TINY, inputs_for, run_steps
from .common import STEPS, assert_close, assert_equal, cached_run, differ, every_family
from .test_batch import rows_of
from .test_cost import check

FIELDS: dict[str, dict[str, Any]] = {
    "smoothcache": {"alpha": 0.8},
    "magcache": {"threshold": 0.6},
    "scalingcache": {"warmup_steps": 2, "threshold": 2.5},
}
calibrated_method = pytest.mark.parametrize("name", FIELDS)


def method_of(family: str, name: str) -> Any:
    method = calibrated(family, name, STEPS, **FIELDS[name])
    steps = method.plan(TINY[family](), STEPS).steps
    assert set(steps) & set("amry") and 1 <= steps.count("F") < STEPS
    return method


@every_family
@calibrated_method
@pytest.mark.parametrize("cfg", [False, True], ids=["plain", "cfg"])
def test_predicted_is_measured(family: str, name: str, cfg: bool) -> None:
    check(family, method_of(family, name), cfg=cfg)


@every_family
@calibrated_method
def test_alone_or_in_company(family: str, name: str) -> None:
    transformer, method = TINY[family](), method_of(family, name)
    inputs = inputs_for(family, STEPS, batch_size=3, seed=4)
    together = cached_run(transformer, method, inputs)
    assert_close(cached_run(transformer, method, rows_of(inputs, [2])), [outputs[[2]] for outputs in together])


@every_family
@calibrated_method
def test_off_is_off_and_again_is_the_same(family: str, name: str) -> None:
    transformer, method = TINY[family](), method_of(family, name)
    inputs = inputs_for(family, STEPS, batch_size=2)
    stock = run_steps(transformer, inputs)
    with toca.cached(transformer, method):
        first = run_steps(transformer, inputs)
        run_steps(transformer, inputs[:3])
        toca.reset(transformer)
        assert_equal(run_steps(transformer, inputs), first)
    assert differ(first, stock)
    assert_equal(run_steps(transformer, inputs), stock)
