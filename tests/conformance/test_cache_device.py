"""A cache in the machine's memory: every method does bitwise what it does with the cache on the device, and what is
moved is what the plan says. Copies are made as late as streams may make them."""

from __future__ import annotations

import toca
from toca.engine.install import engine_of

from ..helpers import TINY, inputs_for, run_steps
from ..late_copier import LateCopier
from .common import STEPS, assert_equal, cached_run, caching_method, every_family, method_of
from .test_cost import held_bytes, options_for


@every_family
@caching_method
def test_the_same_comes_out_and_what_is_moved_is_foretold(family: str, name: str) -> None:
    model, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=2)
    plan = method_of(family, name).plan(model, STEPS)
    wanted = cached_run(model, plan, inputs)
    cost = plan.cost(**options_for(family, 2, (16, 16)), cache_device="cpu")
    with toca.cached(model, plan, num_inference_steps=STEPS, cache_device="cpu"):
        ram = engine_of(model).holding.ram
        ram._make = LateCopier
        got = run_steps(model, inputs[:-1])
        assert held_bytes(model) == toca.summary(model).cache_bytes == cost.cache_bytes
        got += run_steps(model, inputs[-1:])
        summary = toca.summary(model)
        (copier,) = ram._copiers.values()
        assert not copier.outwards and not copier.inwards
    assert_equal(got, wanted)
    traffic = summary.traffic
    assert (summary.cache_bytes, summary.ram_bytes) == (cost.cache_bytes, cost.ram_bytes)
    assert 0 < traffic.most <= cost.in_flight_bytes and traffic.bytes == cost.copied_bytes
    assert summary.device_bytes <= cost.device_bytes
    # What is filled behind the blocks, or chosen by before them, nothing runs beside.
    behind = any(span.around == "model" for spans in plan.spans for span in spans) or plan.selection_spans
    assert behind or traffic.awaited == 0
