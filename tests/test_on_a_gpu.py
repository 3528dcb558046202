"""What only a GPU can tell; skipped where there is none. `pytest tests/test_on_a_gpu.py` runs it alone."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

import toca
from toca.hooks.tracing import can_compile
from toca.kernels import choice

from .conformance.common import METHODS, assert_close, cached_run, caching_method, method_of
from .helpers import TINY, Inputs, inputs_for, placed, run_steps
from .test_overhead import LOOKS, ONCE, STEPS

DEVICE = "cuda"
FAMILIES = ("flux", "pixart")
CLOCK = 1
"""The clock of a bare model reads its timestep, once a call."""

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
each_family = pytest.mark.parametrize("family", FAMILIES)


@each_family
@caching_method
def test_the_same_as_on_a_cpu(family: str, name: str) -> None:
    """In double precision, so that no choice of tokens and no gate hangs on the rounding of either device."""
    method, inputs = method_of(family, name), inputs_for(family, STEPS, batch_size=2, dtype=torch.float64)
    wanted = cached_run(TINY[family]().double(), method, inputs)
    got = cached_run(TINY[family]().double().to(DEVICE), method, placed(inputs, DEVICE))
    assert_close([output.cpu() for output in got], wanted, 1e-6)


@each_family
@pytest.mark.parametrize("name", METHODS)
def test_no_step_waits_for_the_device(family: str, name: str) -> None:
    """As in `test_overhead.py`, where operators tell it; here torch tells what they do not: copies from the host."""
    transformer, inputs = TINY[family]().to(DEVICE), placed(inputs_for(family, 2 * STEPS, batch_size=2), DEVICE)
    allowed = CLOCK + len(LOOKS.get(name, ()))
    with toca.cached(transformer, method_of(family, name), num_inference_steps=STEPS):
        run_steps(transformer, inputs[:STEPS])  # libraries of the device wait when they are first used
        waits = [_waits(transformer, call) for call in inputs[STEPS:]]
    # The first step makes what the generation needs.
    assert max(waits[1:]) <= allowed + len(ONCE.get(name, ())), waits
    assert sum(count > allowed for count in waits[1:]) <= 1, waits


def _waits(transformer: torch.nn.Module, call: dict[str, Any]) -> int:
    """How often one call waits for the device."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run_steps(transformer, [call])
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(each.message) for each in told)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["forecast", "hicache", "self"])
def test_triton_kernels_change_nothing(name: str, dtype: torch.dtype) -> None:
    transformer = TINY["flux"]().to(DEVICE, dtype)
    inputs: Inputs = placed(inputs_for("flux", STEPS, batch_size=2), DEVICE, dtype)
    made = {}
    for told in ("torch", "triton"):
        with choice.using(told):
            made[told] = cached_run(transformer, method_of("flux", name), inputs)
    assert_close(made["triton"], made["torch"], 1e-4 if dtype == torch.float32 else 0.05)


@pytest.mark.skipif(not can_compile(), reason="this torch cannot trace classes made on the fly")
@each_family
@pytest.mark.parametrize("name", ["preset", "fora", "forecast"])
def test_compiled(family: str, name: str) -> None:
    transformer, inputs = TINY[family]().to(DEVICE), placed(inputs_for(family, STEPS, batch_size=2), DEVICE)
    method = method_of(family, name)
    wanted = cached_run(transformer, method, inputs)
    for block in transformer.transformer_blocks:
        block.compile(fullgraph=True)
    try:
        for _ in range(2):
            assert_close(cached_run(transformer, method, inputs), wanted, 1e-3)
    finally:
        torch._dynamo.reset()
