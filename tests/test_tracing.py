"""What is said where torch cannot compile a model whose cache is on."""

from __future__ import annotations

import pytest
import torch

import toca
from toca.hooks import tracing

from .helpers import TINY, inputs_for, run_steps


@pytest.mark.parametrize("first", ["compiled", "cached"])
def test_compiled_blocks_are_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    if tracing.can_compile():
        monkeypatch.setattr(tracing, "can_compile", lambda: False)
    transformer, inputs = TINY["dit"](), inputs_for("dit", 4)
    stock = run_steps(transformer, inputs)
    for turn in ("compiled", "cached") if first == "compiled" else ("cached", "compiled"):
        if turn == "cached":
            toca.enable_cache(transformer, "fora", num_inference_steps=4)
        else:
            for block in transformer.transformer_blocks:
                block.compile(backend="eager")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"torch .* cannot compile a model whose cache is on: upgrade torch"):
            run_steps(transformer, inputs)
    toca.disable_cache(transformer)
    assert all(torch.equal(a, b) for a, b in zip(run_steps(transformer, inputs), stock, strict=True))


def test_it_is_found_out_where_tracing_is_off() -> None:
    tracing.can_compile.cache_clear()
    inside = torch.compiler.disable(tracing.can_compile)()
    tracing.can_compile.cache_clear()
    assert inside == tracing.can_compile()
