"""Steps that drop tokens, in a plan of which other steps reuse modules: what is kept of all tokens stays."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import toca
from tests.helpers import TINY_PIPELINES
from toca.axes.actions import COMPUTE, REUSE, SKIP
from toca.axes.spans import Span
from toca.plan import Plan

CALLS = {"dit": ([1, 2], {}), "pixart": (["a red owl"], {}), "flux": (["a red owl"], {"max_sequence_length": 8})}
STEPS = 6


def kept_after(pipe, family, plan, step):
    """What is kept of every site when a step has ended."""
    prompts, call = CALLS[family]
    held = {}
    engine = lambda: vars(pipe.transformer)["_toca_engine"]  # noqa: E731

    def look(*_):
        done = engine()
        (branch,) = done.branches.values() or (None,)
        if branch is not None and branch.last_step == step:
            held.update({i: site.terms.value for i, site in enumerate(branch.parts[0].sites)})

    with toca.cached(pipe, plan):
        handle = pipe.transformer.register_forward_hook(look)
        pipe(prompts, num_inference_steps=STEPS, generator=torch.Generator().manual_seed(0), **call)
        handle.remove()
        steps = toca.summary(pipe).steps
    return held, steps


@pytest.mark.parametrize("family", CALLS)
def test_a_module_is_reused_as_the_last_full_step_left_it(family):
    pipe = TINY_PIPELINES[family]()
    coast = toca.Coast(fresh_ratio=0.3, interval=3, warmup_steps=2).plan(pipe.transformer, STEPS)
    dropping = next(row for row in coast.table if any(action.kind == "partial" for action in row))
    full, reuse = (COMPUTE,) * len(dropping), (REUSE,) * len(dropping)
    rows = (full, full, dropping, reuse, full, reuse)
    plan = Plan("mixed", STEPS, coast.layout, rows, selection=coast.selection, fill=coast.fill)
    before, steps = kept_after(pipe, family, plan, 1)
    after, _ = kept_after(pipe, family, plan, 2)
    assert steps == "FFtrFr" and before
    for i, value in before.items():
        either = value if isinstance(value, tuple) else (value,)
        other = after[i] if isinstance(after[i], tuple) else (after[i],)
        assert all(torch.equal(one, two) for one, two in zip(either, other, strict=True) if one is not None)


def test_the_plan_costs_what_it_says():
    pipe = TINY_PIPELINES["dit"]()
    coast = toca.Coast(fresh_ratio=0.3, interval=3, warmup_steps=2).plan(pipe.transformer, STEPS)
    dropping = next(row for row in coast.table if any(action.kind == "partial" for action in row))
    full, reuse = (COMPUTE,) * len(dropping), (REUSE,) * len(dropping)
    plan = replace(coast, table=(full, full, dropping, reuse, full, reuse), spans=())
    with toca.cached(pipe, plan):
        pipe([1, 2], num_inference_steps=STEPS)
        assert toca.summary(pipe).cache_bytes == plan.cost(batch_size=4).cache_bytes


@pytest.mark.parametrize("family", CALLS)
@pytest.mark.parametrize("keeps", ["residual", "output"])
def test_a_stack_is_left_out_as_the_last_full_step_left_it(family, keeps):
    """What the blocks made of some tokens in between is no value of all."""
    pipe = TINY_PIPELINES[family]()
    prompts, call = CALLS[family]
    coast = toca.Coast(fresh_ratio=0.3, interval=3, warmup_steps=2).plan(pipe.transformer, STEPS)
    dropping = next(row for row in coast.table if any(action.kind == "partial" for action in row))
    full, skip = (COMPUTE,) * len(dropping), (SKIP,) * len(dropping)
    span = Span(0, coast.layout.layers, keeps, forecasts=True)
    plan = replace(
        coast, table=(full, full, dropping, skip, full, dropping), spans=((), (), (), (span,), (), ()), fill=coast.fill
    )
    with toca.cached(pipe, plan):
        pipe(prompts, num_inference_steps=STEPS, generator=torch.Generator().manual_seed(0), **call)
        assert toca.summary(pipe).steps == "FFtyFt"
