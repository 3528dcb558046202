"""Files of ours with a place changed by chance: what is read is sound, and what is not is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from diffusers import DPMSolverMultistepScheduler
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import toca
from toca.plan import Plan
from toca.plan.front import Front

from .calibrated import calibrated
from .fronts import front_of
from .helpers import TINY, inputs_for, run_steps
from .plans import STEPS, plan_of

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([10**12, 10**400, -1, 2**63]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["reuse", "compute", "x" * 10**5, "\x1b[31m", "__class__", "random"]),
    st.recursive(st.integers(0, 2), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)),
)

# The same ones in every run; `FEW.max_examples` in the thousands finds more.
FEW = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of nested lists and dictionaries."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        yield data, key
        if isinstance(value, (dict, list)):
            yield from places(value)


def change(data: Any, draw: Any) -> None:
    container, key = draw(st.sampled_from(list(places(data))))
    kind = draw(st.sampled_from(["put", "drop", "twice"]))
    if kind == "put":
        container[key] = draw(ODD)
    elif kind == "drop":
        del container[key]
    elif isinstance(container, list):
        container.append(container[key])
    else:
        container[str(key) + "2"] = container[key]


def assert_is_a_sentence(error: ValueError, path: Path) -> None:
    text = str(error)
    assert path.name in text and len(text) < 1500
    assert all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize(
    ("family", "name"), [("pixart", "toca"), ("flux", "preset"), ("dit", "clusca"), ("latte", "fbcache")]
)
@FEW
@given(draw=st.data())
def test_plans(tmp_path: Path, family: str, name: str, draw: Any) -> None:
    path = tmp_path / "plan.json"
    method = toca.methods()[name]() if name in ("clusca", "fbcache") else None
    plan = plan_of(family, name) if method is None else method.plan(TINY[family](), STEPS)
    plan.save(path)
    data = json.loads(path.read_text())
    change(data, draw.draw)
    path.write_text(json.dumps(data))
    try:
        read = Plan.load(path)
        cost = read.cost()
        with toca.cached(TINY[family](), read) as transformer:
            run_steps(transformer, inputs_for(family, STEPS)[: read.num_inference_steps])
    except ValueError as error:
        assert len(str(error)) < 1500
    else:
        assert cost.flops > 0


@pytest.mark.parametrize("name", ["magcache", "smoothcache"])
@FEW
@given(draw=st.data())
def test_calibrations(tmp_path: Path, name: str, draw: Any) -> None:
    path, model = tmp_path / "calibration.json", TINY["dit"]()
    data = json.loads(Path(calibrated("dit", name, STEPS).calibration).read_text())
    change(data, draw.draw)
    path.write_text(json.dumps(data))
    try:
        toca.methods()[name](calibration=str(path)).plan(model, STEPS).cost()
    except ValueError as error:
        assert_is_a_sentence(error, path)


@FEW
@given(draw=st.data())
def test_fronts(tmp_path: Path, draw: Any) -> None:
    path, scheduler = tmp_path / "front.json", DPMSolverMultistepScheduler()
    front_of("pixart", scheduler).save(path)
    data = json.loads(path.read_text())
    change(data, draw.draw)
    path.write_text(json.dumps(data))
    try:
        plan = Front.load(path).plan(full_steps=5)
    except ValueError as error:
        assert len(str(error)) < 1500
        assert path.name in str(error) or "No plan has at most 5 full steps" in str(error)
        return
    try:
        with toca.cached(TINY["pixart"](), plan) as transformer:
            run_steps(transformer, inputs_for("pixart", STEPS)[: plan.num_inference_steps])
    except ValueError as error:
        assert len(str(error)) < 1500
