"""One count of operations for every release of torch and every attention backend."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from toca.eval.counting.flops import FlopMeter

ROWS, HEADS, QUERIES, KEYS, WIDTH = 2, 4, 10, 12, 20
ATTENTION = 4 * ROWS * HEADS * QUERIES * KEYS * WIDTH
BACKENDS = [backend for backend in SDPBackend.__members__.values() if backend != SDPBackend.ERROR]
# A width of 20 is none that CUDA's flash attention takes: it pads to 24.
DEVICES = [("cpu", torch.float32)] + [("cuda", torch.float16)] * torch.cuda.is_available()
FUSED = "_scaled_dot_product_flash_attention_for_cpu"

each_device = pytest.mark.parametrize(("device", "dtype"), DEVICES)


def tokens(
    device: str = "cpu", dtype: torch.dtype = torch.float32, heads: int = HEADS, width: int = WIDTH
) -> tuple[Tensor, ...]:
    """Queries, keys and values."""
    shapes = ((HEADS, QUERIES), (heads, KEYS), (heads, KEYS))
    return tuple(torch.randn(ROWS, *shape, width, device=device, dtype=dtype) for shape in shapes)


def counted(run: Callable[[], object]) -> int:
    with torch.no_grad(), FlopMeter() as meter:
        run()
    return meter.total


def masks(device: str) -> dict[str, dict]:
    mask = torch.ones(QUERIES, KEYS, dtype=torch.bool, device=device)
    mask[:, KEYS // 2 :] = False
    return {"none": {}, "bool": {"attn_mask": mask}, "causal": {"is_causal": True}}


@each_device
@pytest.mark.parametrize("mask", ["none", "bool", "causal"])
@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
def test_every_backend_costs_the_same(backend: SDPBackend, mask: str, device: str, dtype: torch.dtype) -> None:
    inputs, options = tokens(device, dtype), masks(device)[mask]
    with sdpa_kernel([backend]):
        try:
            scaled_dot_product_attention(*inputs, **options)
        except RuntimeError as reason:
            pytest.skip(str(reason))
        assert counted(lambda: scaled_dot_product_attention(*inputs, **options)) == ATTENTION


@each_device
@pytest.mark.parametrize("backend", [SDPBackend.MATH, None])
def test_grouped_heads_cost_as_many_queries(backend: SDPBackend | None, device: str, dtype: torch.dtype) -> None:
    query, key, value = tokens(device, dtype, heads=2)
    with sdpa_kernel(BACKENDS if backend is None else [backend]):
        flops = counted(lambda: scaled_dot_product_attention(query=query, key=key, value=value, enable_gqa=True))
    assert flops == ATTENTION


def test_attention_without_numbers_costs_the_same() -> None:
    assert counted(lambda: scaled_dot_product_attention(*tokens("meta"))) == ATTENTION


def test_flex_attention_costs_the_same() -> None:
    inputs = tokens(width=16)  # torch 2.6 takes powers of two only
    mask = create_block_mask(lambda row, head, i, j: i >= j, None, None, QUERIES, KEYS, device="cpu")
    for options in ({}, {"block_mask": mask}):
        assert counted(partial(flex_attention, *inputs, **options)) == ATTENTION * 16 // WIDTH


def test_a_backend_called_by_its_operator_costs_the_same() -> None:
    """As torch's own `MultiheadAttention` ends up doing, out of a function that hides its calls."""
    assert counted(lambda: getattr(torch.ops.aten, FUSED)(*tokens())) == ATTENTION
    layer, tokens_in = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(3, 5, 8)
    assert counted(lambda: layer(tokens_in, tokens_in, tokens_in, need_weights=False)) == (
        2 * 3 * 5 * 8 * (4 * 8) + 4 * 3 * 5 * 5 * 8
    )


def test_everything_else_is_counted_once() -> None:
    linear, convolution = nn.Linear(8, 6), nn.Conv2d(3, 5, 3, padding=1)
    assert counted(lambda: linear(torch.randn(4, 7, 8))) == 2 * 4 * 7 * 8 * 6
    assert counted(lambda: linear.bfloat16()(torch.randn(4, 7, 8).bfloat16())) == 2 * 4 * 7 * 8 * 6
    assert counted(lambda: convolution(torch.randn(2, 3, 8, 8))) == 2 * 2 * 8 * 8 * 5 * 3 * 9
    assert counted(lambda: torch.randn(4, 8) @ torch.randn(8, 6)) == 2 * 4 * 8 * 6


def test_the_meter_may_be_read_while_it_counts_and_counts_nothing_afterwards() -> None:
    inputs = tokens()
    with FlopMeter() as meter:
        for calls in (1, 2):
            scaled_dot_product_attention(*inputs)
            assert meter.total == calls * ATTENTION
    scaled_dot_product_attention(*inputs)
    assert meter.total == 2 * ATTENTION


def test_an_error_leaves_no_meter_on() -> None:
    with pytest.raises(RuntimeError, match="shape"), FlopMeter() as meter:
        torch.randn(2, 3) @ torch.randn(4, 5)
    torch.randn(2, 3) @ torch.randn(3, 5)
    assert meter.total == 0
    assert counted(lambda: torch.randn(2, 3) @ torch.randn(3, 5)) == 60


def test_compiled_layers_are_counted_as_they_are_written() -> None:
    layer = nn.Linear(8, 6)
    compiled = torch.compile(layer, backend="eager")
    compiled(torch.randn(4, 8))
    assert counted(lambda: compiled(torch.randn(4, 8))) == 2 * 4 * 8 * 6
