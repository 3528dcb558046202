"""`torch.compile` by inductor, on the CPU: the same outputs as eager, few graphs, and none anew once all are seen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

import toca
from toca.hooks.tracing import can_compile
from toca.models import all_blocks, family_of

from .conformance.common import assert_close
from .helpers import TINY, Inputs, inputs_for, run_steps
from .zoo import STEPS as ZOO_STEPS
from .zoo import ZOO

STEPS = 6
METHODS = {
    "toca": toca.ToCa(interval=3, fresh_ratio=0.3, score="value_norm"),
    "fora": toca.FORA(interval=2),
    "taylorseer": toca.TaylorSeer(interval=3, order=2),
    "blocks": toca.TaylorSeer(interval=3, order=1, scope="block"),
}
# A kind of block each: adaLN with self-attention and feed-forward, cross-attention beside them, two streams and then
# one row (MMDiT and parallel blocks), two streams, and a video's blocks over all frames.
KINDS = ("dit", "pixart", "flux", "SD3Transformer2DModel", "WanTransformer3DModel")
HERE = [("dit", "toca"), ("flux", "toca"), ("SD3Transformer2DModel", "fora")]
CELLS = [
    pytest.param(kind, name, marks=() if (kind, name) in HERE else pytest.mark.matrix)
    for kind in KINDS
    for name in METHODS
]

pytestmark = pytest.mark.skipif(not can_compile(), reason="this torch cannot trace classes made on the fly")


@pytest.fixture(autouse=True)
def fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def build(kind: str) -> tuple[nn.Module, Inputs]:
    if kind in TINY:
        return TINY[kind](), inputs_for(kind, STEPS, batch_size=2)
    return ZOO[kind].make(), ZOO[kind].generation()[:ZOO_STEPS]


@pytest.mark.parametrize(("kind", "name"), CELLS)
def test_the_same_outputs_from_few_graphs(kind: str, name: str) -> None:
    transformer, inputs = build(kind)
    method, steps = METHODS[name], len(inputs)
    with toca.cached(transformer, method, num_inference_steps=steps):
        wanted = run_steps(transformer, inputs)
    blocks = all_blocks(transformer, family_of(transformer))
    transformer._repeated_blocks = sorted({type(block).__name__ for block in blocks})
    # SD3's last block is built otherwise than the others of its class.
    built = {tuple((name, type(module)) for name, module in block.named_modules()) for block in blocks}
    counter = CompileCounterWithBackend("inductor")
    transformer.compile_repeated_blocks(fullgraph=True, backend=counter)
    with toca.cached(transformer, method, num_inference_steps=steps):
        assert_close(run_steps(transformer, inputs), wanted, 1e-4)
        graphs = counter.frame_count
        assert 0 < graphs <= 3 * len(built)
        assert_close(run_steps(transformer, inputs), wanted, 1e-4)
        assert counter.frame_count == graphs
