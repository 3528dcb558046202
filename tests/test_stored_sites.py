"""An output is kept in the steps from which a later one takes it, and what comes out is the same."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import toca
from toca.axes.actions import COMPUTE, FORECAST, REUSE
from toca.axes.fills.expansions import Taylor
from toca.engine.install import engine_of
from toca.models import Layout, describe, known_family
from toca.plan import Plan

from .helpers import TINY, inputs_for, run_steps

STEPS = 6


def layout_of(transformer: Any) -> Layout:
    return describe(transformer, known_family(transformer))


@st.composite
def tables(draw: Any, layout: Layout) -> tuple:
    """Any site computes or is filled in any step but the first; some are forecast."""
    kinds = [st.sampled_from(draw(st.sampled_from([(COMPUTE,), (COMPUTE, REUSE), (COMPUTE, FORECAST)])))
             for _ in layout.sites]  # fmt: skip
    rows = [tuple(draw(kind) for kind in kinds) for _ in range(STEPS - 1)]
    return ((COMPUTE,) * len(layout.sites), *rows)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_it_is_kept_where_the_next_thing_that_happens_to_it_is_that_it_is_taken(data: st.DataObject) -> None:
    layout = layout_of(TINY["dit"](1))
    table = data.draw(tables(layout))
    plan = Plan("by hand", STEPS, layout, table, fill=Taylor(1))
    for i in range(len(layout.sites)):
        actions = [row[i].kind for row in table]
        for step, action in enumerate(actions):
            later = actions[step + 1 :]
            # A forecast goes on from all that was computed before it.
            forecast = "forecast" in later
            taken = forecast or next((kind for kind in later), "compute") == "reuse"
            assert (i in plan.stored_sites[step]) == (action == "compute" and taken)


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_what_comes_out_is_what_came_out_when_all_was_kept(data: st.DataObject) -> None:
    transformer, calls = TINY["dit"](1), inputs_for("dit", STEPS)
    plan = Plan("by hand", STEPS, layout_of(transformer), data.draw(tables(layout_of(transformer))), fill=Taylor(1))
    with toca.cached(transformer, plan, num_inference_steps=STEPS):
        got = run_steps(transformer, calls)
    plan = Plan("by hand", STEPS, plan.layout, plan.table, fill=Taylor(1))
    vars(plan)["stored_sites"] = (frozenset(plan.kept_sites),) * STEPS
    with toca.cached(transformer, plan, num_inference_steps=STEPS):
        wanted = run_steps(transformer, calls)
    assert all(torch.equal(mine, all_kept) for mine, all_kept in zip(got, wanted, strict=True))


def test_full_steps_that_nobody_looks_back_on_leave_the_sites_alone() -> None:
    transformer, calls = TINY["dit"](1), inputs_for("dit", STEPS)
    layout = layout_of(transformer)
    full, reused = (COMPUTE,) * len(layout.sites), (REUSE,) * len(layout.sites)
    plan = Plan("by hand", STEPS, layout, (full, reused, full, full, full, full))
    assert plan.stored_sites == (frozenset(range(len(full))), *[frozenset()] * 5)
    with toca.cached(transformer, plan, num_inference_steps=STEPS), torch.no_grad():
        engine = engine_of(transformer)
        assert engine is not None
        frozen: list[int] = []
        freeze = engine.decisions._freeze_sites
        engine.decisions._freeze_sites = lambda *given: (frozen.append(given[3]), freeze(*given))  # type: ignore
        for call in calls:
            transformer(**call)
        assert frozen == [0, 1]
