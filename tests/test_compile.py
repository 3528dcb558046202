"""`compile_repeated_blocks(fullgraph=True)` with a cache on: the same outputs, at most three graphs a class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

import toca
from toca.hooks.tracing import can_compile

from .conformance.common import method_of
from .helpers import TINY, Inputs, inputs_for, relative_error, run_steps

STEPS = 8
pytestmark = pytest.mark.skipif(not can_compile(), reason="this torch cannot trace classes made on the fly")
BLOCK_CLASSES = {"dit": 1, "flux": 2}
METHODS: dict[str, dict[str, Any]] = {
    "preset": {"dit": "toca/dit-ddim50", "flux": "toca/flux"},
    "value": dict.fromkeys(("dit", "flux"), toca.ToCa(interval=3, fresh_ratio=0.3, score="value_norm")),
    "self": dict.fromkeys(("dit", "flux"), toca.ToCa(interval=3, fresh_ratio=0.3, score="self_attention")),
    "fora": dict.fromkeys(("dit", "flux"), toca.FORA(interval=3)),
    "random": dict.fromkeys(("dit", "flux"), toca.RandomTokens(interval=3)),
    "none": dict.fromkeys(("dit", "flux"), toca.NoCache()),
    "duca": dict.fromkeys(("dit", "flux"), toca.DuCa(interval=4, fresh_ratio=0.3)),
    "forecast": dict.fromkeys(("dit", "flux"), toca.TaylorSeer(interval=3, order=2)),
    "forecast-blocks": dict.fromkeys(("dit", "flux"), toca.TaylorSeer(interval=3, order=2, scope="block")),
    "gate": dict.fromkeys(("dit", "flux"), toca.FBCache(threshold=0.5)),
    "gate-input": dict.fromkeys(("dit", "flux"), toca.TeaCache(threshold=0.5)),
}
each_family = pytest.mark.parametrize("family", BLOCK_CLASSES)


@pytest.fixture(autouse=True)
def fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(transformer: nn.Module, backend: str = "eager") -> CompileCounterWithBackend:
    """Compile the blocks in place; the counter counts graphs."""
    if not getattr(transformer, "_repeated_blocks", None):
        transformer._repeated_blocks = ["BasicTransformerBlock"]
    counter = CompileCounterWithBackend(backend)
    transformer.compile_repeated_blocks(fullgraph=True, backend=counter)
    return counter


def build(family: str, **inputs: Any) -> tuple[nn.Module, Inputs]:
    """More layers than the family's tiny model: a graph for each would be seen."""
    layers = {"num_layers": 5} if family == "dit" else {"num_layers": 4, "num_single_layers": 5}
    return TINY[family](**layers), inputs_for(family, STEPS, batch_size=2, **inputs)


def assert_close(got: list[torch.Tensor], wanted: list[torch.Tensor], tolerance: float = 1e-5) -> None:
    assert max(relative_error(a, b) for a, b in zip(got, wanted, strict=True)) < tolerance


ORDERS = [(name, True) for name in METHODS] + [("preset", False), ("fora", False)]
# Every method and both orders on a family, another one for the next, without the marker; compiling takes seconds.
CELLS = [
    pytest.param(family, name, first, marks=() if (turn + place) % len(BLOCK_CLASSES) == 0 else pytest.mark.matrix)
    for turn, (name, first) in enumerate(ORDERS)
    for place, family in enumerate(BLOCK_CLASSES)
]


@pytest.mark.parametrize(("family", "name", "enabled_first"), CELLS)
def test_same_outputs_from_few_graphs(family: str, name: str, enabled_first: bool) -> None:
    transformer, inputs = build(family)
    method = METHODS[name][family]
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        wanted = run_steps(transformer, inputs)
    if enabled_first:
        toca.enable_cache(transformer, method, num_inference_steps=STEPS)
        counter = compiled(transformer)
    else:
        counter = compiled(transformer)
        toca.enable_cache(transformer, method, num_inference_steps=STEPS)
    assert_close(run_steps(transformer, inputs), wanted)
    graphs = counter.frame_count
    assert 0 < graphs <= 3 * BLOCK_CLASSES[family]
    for _ in range(2):
        assert_close(run_steps(transformer, inputs), wanted)
    assert counter.frame_count == graphs


@each_family
def test_no_recompilation_from_step_to_step(family: str) -> None:
    """Once a full step and the kinds of step after it have been seen, no step adds a graph."""
    transformer, inputs = build(family)
    counter, steps, counts = compiled(transformer), "", []
    with toca.cached(transformer, METHODS["preset"][family], num_inference_steps=STEPS):
        for call in inputs * 2:
            run_steps(transformer, [call])
            counts.append(counter.frame_count)
        steps = toca.summary(transformer).steps
    second_partial = [i for i, letter in enumerate(steps) if letter == "t"][1]
    assert set(counts[second_partial:]) == {counts[-1]}


@each_family
@pytest.mark.parametrize("name", ["preset", "fora"])
def test_disabled_afterwards(family: str, name: str) -> None:
    transformer, inputs = build(family)
    stock = run_steps(transformer, inputs)
    compiled(transformer)
    assert_close(run_steps(transformer, inputs), stock)
    for _ in range(2):
        with toca.cached(transformer, METHODS[name][family], num_inference_steps=STEPS):
            assert max(relative_error(a, b) for a, b in zip(run_steps(transformer, inputs), stock, strict=True)) > 1e-3
        assert_close(run_steps(transformer, inputs), stock)


@pytest.mark.parametrize("family", ["dit", "flux"])
def test_aot_eager(family: str) -> None:
    """A backend that makes the graphs functional: writes into the store must survive it."""
    transformer, inputs = build(family)
    method = METHODS["self"][family]
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        wanted = run_steps(transformer, inputs)
    counter = compiled(transformer, "aot_eager")
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        assert_close(run_steps(transformer, inputs), wanted, 1e-4)
        assert_close(run_steps(transformer, inputs), wanted, 1e-4)
    assert counter.frame_count <= 3 * BLOCK_CLASSES[family]


@each_family
def test_gradients_run_in_full(family: str) -> None:
    transformer, inputs = build(family)
    stock = run_steps(transformer, inputs)
    compiled(transformer)
    with toca.cached(transformer, METHODS["self"][family], num_inference_steps=STEPS):
        run_steps(transformer, inputs[:3])
        assert_close([transformer(**inputs[3]).sample], stock[3:4])


@each_family
def test_shared_guidance(family: str) -> None:
    transformer, inputs = build(family, cfg=True)
    method = toca.ToCa(interval=3, fresh_ratio=0.3, shared_cfg=True)
    options = {"num_inference_steps": STEPS, "batched_cfg": True}
    with toca.cached(transformer, method, **options):
        wanted = run_steps(transformer, inputs)
    counter = compiled(transformer)
    with toca.cached(transformer, method, **options):
        assert_close(run_steps(transformer, inputs), wanted)
    assert counter.frame_count <= 3 * BLOCK_CLASSES[family]


@pytest.mark.parametrize("family", ["pixart", "latte"])
@pytest.mark.parametrize("name", ["preset", "generic"])
def test_other_families_compile_too(family: str, name: str) -> None:
    """Choices made between two modules of a block (cross-attention before feed-forward) trace as well, also where
    every layer and step recomputes another number of tokens."""
    transformer, inputs = TINY[family](num_layers=6), inputs_for(family, STEPS)
    transformer._repeated_blocks = ["BasicTransformerBlock"]
    method = method_of(family, "preset") if name == "preset" else toca.ToCa(interval=3, fresh_ratio=0.4)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        wanted = run_steps(transformer, inputs)
    counter = compiled(transformer)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        assert_close(run_steps(transformer, inputs), wanted)
        graphs = counter.frame_count
        assert_close(run_steps(transformer, inputs), wanted)
        assert counter.frame_count == graphs
