"""A cache in the machine's memory on an accelerator: what comes out is what comes out with the cache on the device,
nobody waits for them, and the device holds no more than is foretold. Skipped where there is no CUDA device.

How long it takes is measured by `python -m toca.eval.benchmarks.random_weights flux-dev --method fora/flux --in-ram`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

import toca
from toca.engine.install import engine_of
from toca.hooks.tracing import can_compile
from toca.memory.copier import StreamCopier

from .conformance.common import CACHING, STEPS, assert_equal, cached_run, method_of, runs_on
from .conformance.test_cost import options_for
from .helpers import TINY, Inputs, inputs_for, placed, relative_error, run_steps

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
METHODS = [name for name in CACHING if name not in toca.methods() or runs_on("flux", name)]


def on_device(family: str, size: int = 16, **model: Any) -> tuple[Any, Inputs]:
    """A tiny model and its calls on the device."""
    calls = inputs_for(family, STEPS, batch_size=2, height=size, width=size)
    return TINY[family](**model).cuda(), placed(calls, "cuda")


@pytest.mark.parametrize("short", [None, "fp8"])
@pytest.mark.parametrize("name", METHODS)
def test_the_same_comes_out(name: str, short: str | None) -> None:
    model, inputs = on_device("flux")
    plan = method_of("flux", name).plan(model, STEPS)
    wanted = cached_run(model, plan, inputs, cache_dtype=short)
    options = {**options_for("flux", 2, (16, 16)), "cache_dtype": short, "cache_device": "cpu"}
    cost = plan.cost(**options)
    with toca.cached(model, plan, num_inference_steps=STEPS, cache_dtype=short, cache_device="cpu"):
        for _ in range(2):
            assert_equal(run_steps(model, inputs), wanted)
        traffic = toca.summary(model).traffic
    assert traffic.most <= cost.in_flight_bytes and traffic.bytes == cost.copied_bytes


def test_what_lies_in_ram_is_pinned_and_the_device_holds_little() -> None:
    """The memory of the device, by its own count, beside a run of the model alone."""
    model, inputs = on_device("flux", 64, num_layers=4, num_single_layers=8)
    method = toca.FORA(interval=3)
    peaks = []
    for options in ({}, {"cache_device": "cpu"}):
        with toca.cached(model, method, num_inference_steps=STEPS, **options):
            run_steps(model, inputs)
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            run_steps(model, inputs[:-1])
            torch.cuda.synchronize()
            peaks.append(torch.cuda.max_memory_allocated())
            if options:
                copiers = engine_of(model).holding.ram._copiers.values()
                assert [type(copier) for copier in copiers] == [StreamCopier]
                (memory,) = engine_of(model).branches.values()
                homes = [home for site in memory.parts[0].sites for home in site.terms.homes]
                assert homes and all(home.is_pinned() for home in homes)
    cost = method.plan(model, STEPS).cost(**options_for("flux", 2, (64, 64)), cache_device="cpu")
    assert peaks[1] <= peaks[0] - (cost.cache_bytes - cost.device_bytes) * 0.8


def test_the_machine_waits_for_nothing_within_a_step() -> None:
    model, inputs = on_device("flux")
    for options in ({}, {"cache_device": "cpu"}):
        with toca.cached(model, "toca/flux", num_inference_steps=STEPS, **options):
            run_steps(model, inputs)
            before = torch.cuda.get_sync_debug_mode()
            torch.cuda.set_sync_debug_mode("error")
            try:
                run_steps(model, inputs)
            except RuntimeError as error:
                assert not options, "only with the cache in RAM the machine waits"
                pytest.skip(f"the machine waits without it too: {error}")
            finally:
                torch.cuda.set_sync_debug_mode(before)


@pytest.mark.skipif(not can_compile(), reason="this torch cannot trace classes made on the fly")
def test_compiled_blocks_do_the_same() -> None:
    model, inputs = on_device("flux", num_layers=3, num_single_layers=3)
    wanted = cached_run(model, "toca/flux", inputs)
    model.compile_repeated_blocks(fullgraph=True)
    with toca.cached(model, "toca/flux", num_inference_steps=STEPS, cache_device="cpu"):
        for _ in range(2):
            got = run_steps(model, inputs)
            assert max(relative_error(a, b) for a, b in zip(got, wanted, strict=True)) < 1e-3
        assert toca.summary(model).traffic.awaited == 0
