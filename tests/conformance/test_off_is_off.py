"""After `disable_cache` a model is bitwise what it was, and no model ever meets another's cache."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

import toca

from ..helpers import FAMILIES, TINY, TINY_PIPELINES, inputs_for, pipeline_arguments, run_steps
from .common import STEPS, assert_equal, both_dtypes, cached_run, differ, every_family, every_method, method_of


def snapshot(model: nn.Module) -> dict[str, Any]:
    """All of a model that a cache could have touched: classes, attributes, processors, hooks, names of weights."""
    return {
        "modules": [(name, type(module)) for name, module in model.named_modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "processors": [id(module.processor) for module in model.modules() if hasattr(module, "processor")],
        "settings": [dict(vars(module.processor)) for module in model.modules() if hasattr(module, "processor")],
        "hooks": [
            {key: len(value) for key, value in vars(module).items() if key.endswith(("hooks", "kwargs", "called"))}
            for module in model.modules()
        ],
        "weights": [(name, id(weight)) for name, weight in model.state_dict(keep_vars=True).items()],
    }


@every_family
@every_method
@both_dtypes
def test_disabled_is_untouched(family: str, name: str, dtype: torch.dtype) -> None:
    transformer, inputs = TINY[family]().to(dtype), inputs_for(family, STEPS, batch_size=2, dtype=dtype)
    before, wanted = snapshot(transformer), run_steps(transformer, inputs)
    toca.enable_cache(transformer, method_of(family, name), num_inference_steps=STEPS)
    # In the middle of a generation, when much is remembered.
    assert differ(run_steps(transformer, inputs + inputs[:3])[:STEPS], wanted) == (name != "none")
    assert toca.disable_cache(transformer) is transformer
    assert snapshot(transformer) == before
    assert_equal(run_steps(transformer, inputs), wanted)


@every_family
@every_method
def test_enabled_keeps_classes_and_names(family: str, name: str) -> None:
    """What `isinstance` and checkpoints see is the same while the cache is on."""
    transformer, other = TINY[family](), TINY[family]()
    keys, types = list(transformer.state_dict()), [type(module) for module in other.modules()]
    assert toca.enable_cache(transformer, method_of(family, name), num_inference_steps=STEPS) is transformer
    assert list(transformer.state_dict()) == keys
    modules = list(transformer.modules())
    assert len(modules) == len(types)
    for module, wanted in zip(modules, types, strict=True):
        assert isinstance(module, wanted) and type(module).__name__ == wanted.__name__
        if hasattr(module, "processor"):
            assert isinstance(module.processor, type(next(iter(_processors(other)))))
    assert [type(module) for module in other.modules()] == types


def _processors(model: nn.Module) -> list[Any]:
    return [module.processor for module in model.modules() if hasattr(module, "processor")]


@every_family
@pytest.mark.parametrize("name", ["preset", "fora"])
def test_cached_block_ends_however_it_ends(family: str, name: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    before, wanted, method = snapshot(transformer), run_steps(transformer, inputs), method_of(family, name)
    with pytest.raises(KeyboardInterrupt), toca.cached(transformer, method, num_inference_steps=STEPS):
        run_steps(transformer, inputs[:3])
        raise KeyboardInterrupt
    assert snapshot(transformer) == before
    assert_equal(run_steps(transformer, inputs), wanted)


ORDERS = [order for order in itertools.permutations("AaBb") if order.index("A") < order.index("a")]
ORDERS = [order for order in ORDERS if order.index("B") < order.index("b")]


@every_family
@pytest.mark.parametrize("order", ORDERS, ids="".join)
def test_two_pipelines_of_one_class(family: str, order: tuple[str, ...]) -> None:
    """Enabled (capital) and disabled in every order: each is what it would be without the other."""
    pipes = {"a": TINY_PIPELINES[family](seed=0), "b": TINY_PIPELINES[family](seed=1)}
    methods = {"a": toca.FORA(interval=2), "b": method_of(family, "self")}
    before = {key: snapshot(pipe.transformer) for key, pipe in pipes.items()}
    inputs = inputs_for(family, STEPS, height=32, width=32) if family == "pixart" else inputs_for(family, STEPS)
    stock = {key: run_steps(pipe.transformer, inputs) for key, pipe in pipes.items()}
    options = {"num_inference_steps": STEPS}
    cached = {key: cached_run(pipe.transformer, methods[key], inputs) for key, pipe in pipes.items()}
    on: set[str] = set()
    for letter in order:
        key = letter.lower()
        if letter.isupper():
            toca.enable_cache(pipes[key].transformer, methods[key], **options)
            on.add(key)
        else:
            toca.disable_cache(pipes[key])
            on.remove(key)
        for other, pipe in pipes.items():
            wanted = cached if other in on else stock
            assert_equal(run_steps(pipe.transformer, inputs), wanted[other])
            assert other in on or snapshot(pipe.transformer) == before[other]


@every_family
@pytest.mark.parametrize("name", ["preset", "fora", "none"])
def test_stock_pipeline_after_a_cache(family: str, name: str) -> None:
    pipe = TINY_PIPELINES[family]()
    wanted = pipe(**pipeline_arguments(family, 5))[0]
    # After one run, for that leaves an attribute of diffusers' own on a model with a cache context.
    before = snapshot(pipe.transformer), sorted(vars(pipe)), sorted(vars(pipe.scheduler))
    with toca.cached(pipe, method_of(family, name)):
        got = pipe(**pipeline_arguments(family, 5))[0]
    assert torch.equal(torch.as_tensor(got), torch.as_tensor(wanted)) == (name == "none")
    assert (snapshot(pipe.transformer), sorted(vars(pipe)), sorted(vars(pipe.scheduler))) == before
    assert torch.equal(torch.as_tensor(pipe(**pipeline_arguments(family, 5))[0]), torch.as_tensor(wanted))


@every_family
def test_disabling_twice_or_without_a_cache_does_nothing(family: str) -> None:
    transformer = TINY[family]()
    before = snapshot(transformer)
    toca.disable_cache(transformer)
    toca.enable_cache(transformer, toca.FORA(), num_inference_steps=STEPS)
    toca.disable_cache(toca.disable_cache(transformer))
    assert snapshot(transformer) == before


def test_processors_shared_between_modules_stay_shared() -> None:
    transformer = TINY["pixart"]()
    shared = transformer.transformer_blocks[0].attn1.processor
    transformer.set_attn_processor(shared)
    before, inputs = snapshot(transformer), inputs_for("pixart", STEPS)
    stock = run_steps(transformer, inputs)
    assert differ(cached_run(transformer, toca.FORA(), inputs), stock)
    assert snapshot(transformer) == before and transformer.transformer_blocks[1].attn2.processor is shared


def test_attention_backend_set_while_on_stays() -> None:
    """What the user changed meanwhile is the user's; what was set before is in force while the cache is on."""
    transformer, inputs = TINY["flux"](), inputs_for("flux", STEPS)
    with toca.cached(transformer, toca.FORA(), num_inference_steps=STEPS):
        transformer.set_attention_backend("native")
        run_steps(transformer, inputs)
    assert {processor._attention_backend.value for processor in _processors(transformer)} == {"native"}


def test_processor_replaced_while_on_stays() -> None:
    transformer = TINY["pixart"]()
    attention = transformer.transformer_blocks[0].attn1
    new = type(attention.processor)()
    with toca.cached(transformer, toca.FORA(), num_inference_steps=STEPS):
        attention.set_processor(new)
    assert attention.processor is new


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_loaded_while_on_are_used(family: str) -> None:
    transformer, other = TINY[family](0), TINY[family](1)
    inputs = inputs_for(family, STEPS)
    wanted = cached_run(other, method_of(family, "self"), inputs)
    with toca.cached(transformer, method_of(family, "self"), num_inference_steps=STEPS):
        transformer.load_state_dict(other.state_dict())
        assert_equal(run_steps(transformer, inputs), wanted)
