"""Triton kernels against their plain forms, under Triton's interpreter: `test_kernels.py` runs this in a process of
its own, with `TRITON_INTERPRET` set. The interpreter cuts bfloat16 off where a GPU rounds it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DiTTransformer2DModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import toca
from toca.axes.fills.renewal import differences
from toca.kernels import choice
from toca.kernels.scores import column_mass
from toca.kernels.series import weighted_sum

# Triton itself comes with diffusers, which imports torch's compiler.
IMPORTED_BY_TOCA = [name for name in sys.modules if name.startswith("toca.kernels.triton_kernels")]
assert os.environ["TRITON_INTERPRET"] == "1"

from toca.kernels.triton_kernels import column_mass as mass_file  # noqa: E402
from toca.kernels.triton_kernels import differences as differences_file  # noqa: E402
from toca.kernels.triton_kernels import weighted_sum as sum_file  # noqa: E402

DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])
SHAPES = st.tuples(st.integers(1, 3), st.integers(0, 40), st.sampled_from([1, 7, 64]))
FACTORS = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(-4, 4, width=32))
examples = settings(max_examples=25, deadline=None)


def drawn(seed: int, count: int, *shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


@pytest.fixture
def on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are chosen here as on a GPU."""
    monkeypatch.setattr(choice, "DEVICES", ("cpu",))


def test_toca_imports_no_kernel() -> None:
    assert IMPORTED_BY_TOCA == []


@examples
@given(SHAPES, DTYPES, st.booleans(), st.lists(FACTORS, min_size=1, max_size=7), st.integers(0, 99))
def test_weighted_sum(shape: tuple, dtype: torch.dtype, wide: bool, weights: list[float], seed: int) -> None:
    value, *higher = drawn(seed, len(weights), *shape)
    value, higher = value.to(dtype), [term if wide else term.to(dtype) for term in higher]
    got, wanted = sum_file.weighted_sum(value, higher, weights), weighted_sum(value, higher, weights)
    size = sum(abs(w) * term.abs().double() for w, term in zip(weights, [value, *higher], strict=True))
    bound = (len(weights) + 2) * torch.finfo(dtype).eps * size + torch.finfo(dtype).smallest_normal
    assert got.dtype == wanted.dtype == dtype and got.shape == wanted.shape
    assert ((got.double() - wanted.double()).abs() <= bound).all()
    assert (got is value) == (wanted is value)


@examples
@given(SHAPES, DTYPES, st.lists(st.floats(0.125, 1, width=32), min_size=1, max_size=3), st.integers(0, 99))
def test_differences(shape: tuple, dtype: torch.dtype, scales: list[float], seed: int) -> None:
    """To the bit, also of numbers that are not finite."""
    value, before, *terms = (each.to(dtype) for each in drawn(seed, len(scales) + 2, *shape))
    value.flatten()[::5], before.flatten()[::7] = float("nan"), float("inf")
    got, wanted = (make(value, before, terms, scales) for make in (differences_file.differences, differences))
    for ours, its in zip(got, wanted, strict=True):
        assert ours.dtype == dtype and ours.isfinite().all()
        if dtype == torch.bfloat16:
            torch.testing.assert_close(ours, its, rtol=0, atol=2 ** (len(scales) + 3) * torch.finfo(dtype).eps)
        else:
            assert torch.equal(ours, its)


@settings(max_examples=8, deadline=None)
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.tuples(st.integers(1, 100), st.integers(1, 100)),
    st.sampled_from([1, 8, 24]),
    st.sampled_from([torch.float32, torch.float16]),
    st.integers(0, 99),
)
def test_column_mass(rows: tuple, tokens: tuple, width: int, dtype: torch.dtype, seed: int) -> None:
    batch, heads = rows
    # As projections come, with the heads of a token side by side.
    query, key = (
        (2 * drawn(seed, 1, batch, count, heads, width)[0]).to(dtype).transpose(1, 2) for count in tokens
    )
    got = mass_file.column_mass(query, key)
    torch.testing.assert_close(got, column_mass(query.float(), key.float()), rtol=1e-4, atol=1e-5)
    if batch > 1:
        assert torch.equal(got[1:], mass_file.column_mass(query[1:], key[1:])), "a row depends on itself alone"


@pytest.mark.parametrize(
    "method, used",
    [
        (toca.TaylorSeer(interval=3, order=2), (sum_file, differences_file)),
        (toca.ToCa(interval=3, fresh_ratio=0.3, score="self_attention"), (mass_file,)),
    ],
)
@pytest.mark.usefixtures("on_a_cpu")
def test_in_a_generation(monkeypatch: pytest.MonkeyPatch, method: toca.Method, used: tuple[Any, ...]) -> None:
    """They run where their plain forms would, and make the same."""
    transformer = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, sample_size=8
    ).eval()
    latents, label, ran = drawn(0, 6, 1, 4, 8, 8), torch.tensor([7]), set()

    def counted(file: Any, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            ran.add(file)
            return kernel(*args)

        return run

    for file in (sum_file, differences_file, mass_file):
        name = file.__name__.rpartition(".")[2]
        monkeypatch.setattr(file, name, counted(file, getattr(file, name)))
    outputs = {}
    for told in ("torch", "triton"):
        with torch.no_grad(), choice.using(told), toca.cached(transformer, method, num_inference_steps=6):
            outputs[told] = [
                transformer(latents[i], timestep=torch.tensor([900 - 150 * i]), class_labels=label).sample
                for i in range(6)
            ]
        assert ran == (set(used) if told == "triton" else set())
    torch.testing.assert_close(outputs["triton"], outputs["torch"], rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("on_a_cpu")
def test_graphs_hold_the_operator_of_attention_alone() -> None:
    def both(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        return column_mass(query, key), weighted_sum(query, [key], [1.0, 0.5])

    query, key = drawn(0, 2, 1, 2, 70, 8)
    held: list[str] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        held.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    for told, expected in (("torch", False), ("triton", True)):
        held.clear()
        with choice.using(told):
            got = torch.compile(both, backend=backend, fullgraph=True)(query, key)
            torch.testing.assert_close(got, both(query, key))
        assert any("toca.column_mass" in target for target in held) is expected


@pytest.mark.usefixtures("on_a_cpu")
def test_floating_point_operations_are_counted() -> None:
    query, key, counts = *drawn(0, 2, 2, 2, 20, 8), []
    for told in ("torch", "triton"):
        with choice.using(told), FlopCounterMode(display=False) as counter:
            column_mass(query, key)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0
