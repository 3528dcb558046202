"""The zoo's models work by themselves: what the tests of the promises build on."""

from __future__ import annotations

import math
import time

import pytest
import torch
from diffusers.models import transformers as module
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from toca.models.outside import OUTSIDE

from . import EVERY, ZOO
from .tiny import Tiny, run

every_model = pytest.mark.parametrize("name", EVERY)


def change(got: Tensor, wanted: Tensor) -> float:
    return ((got - wanted).abs().mean() / wanted.abs().mean()).item()


def furthest(got: list[Tensor], wanted: list[Tensor]) -> float:
    return max(
        ((a.double() - b.double()).abs().max() / b.double().abs().max()).item()
        for a, b in zip(got, wanted, strict=True)
    )


def test_every_denoising_transformer_is_in_the_zoo() -> None:
    """A class that a new diffusers brings is missed here first."""
    classes = {name for name, cls in vars(module).items() if isinstance(cls, type) and issubclass(cls, ModelMixin)}
    assert classes - set(OUTSIDE) == set(ZOO)


@every_model
def test_works(name: str) -> None:
    """Finite, the same twice, another for another step and another sample, and quick."""
    entry = EVERY[name]
    model = entry.make()
    calls = [entry.inputs(step) for step in (0, 1, 0)]
    started = time.process_time()
    first, second, again = run(model, calls)
    seconds = (time.process_time() - started) / len(calls)
    assert all(torch.isfinite(tensor).all() for tensor in first)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert max(change(b, a) for a, b in zip(first, second, strict=True)) > 1e-3
    assert not entry.batches or all(change(tensor[1], tensor[0]) > 1e-2 for tensor in first)
    assert seconds < 2, f"{seconds:.2f} s a call"


@every_model
def test_no_weight_is_idle(name: str) -> None:
    model = EVERY[name].make()
    for path, parameter in model.named_parameters():
        assert torch.isfinite(parameter).all() and (parameter != 0).all(), path


@every_model
def test_a_row_is_what_it_is_alone(name: str) -> None:
    entry = EVERY[name]
    if not entry.batches:
        pytest.skip("this class takes one sample a call")
    model = entry.make(entry.exact)
    (together,) = run(model, [entry.inputs(0, 4, dtype=entry.exact)])
    for sample in (0, 3):
        (alone,) = run(model, [entry.inputs(0, 1, first=sample, dtype=entry.exact)])
        assert furthest([tensor[sample : sample + 1] for tensor in together], alone) < entry.tolerance


@every_model
def test_still_is_still(name: str) -> None:
    entry = EVERY[name]
    model = entry.make(entry.exact)
    first, last = run(model, [entry.inputs(step, still=True, dtype=entry.exact) for step in (0, 7)])
    assert furthest(last, first) < entry.tolerance


def test_another_seed_is_another_model() -> None:
    entry: Tiny = ZOO["DiTTransformer2DModel"]
    first, second = (nn.utils.parameters_to_vector(entry.make(seed=seed).parameters()) for seed in (0, 1))
    assert math.isclose(first.std(), second.std(), rel_tol=0.2) and not torch.equal(first, second)
