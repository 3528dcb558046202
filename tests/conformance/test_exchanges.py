"""What is exchanged, hooked or copied while a cache is on: taken up or refused, and off is off afterwards."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.loaders.ip_adapter import FluxIPAdapterMixin
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor
from torch import nn

import toca

from ..helpers import FAMILIES, TEXT_WIDTH, TINY, Inputs, inputs_for, randomize, run_steps
from .common import STEPS, assert_close, assert_equal, cached_run, differ, every_family, method_of
from .test_off_is_off import snapshot


def traces_of_toca(model: nn.Module) -> list[str]:
    """Whatever of ours can be reached from a model: classes, attributes, hooks, saved processors."""
    found: list[str] = []
    seen: dict[int, Any] = {}
    waiting: list[tuple[str, Any]] = [(name or "model", module) for name, module in model.named_modules()]
    while waiting:
        where, item = waiting.pop()
        if id(item) in seen or isinstance(item, (torch.Tensor, type)):
            continue
        seen[id(item)] = item
        homes = (type(item).__module__, getattr(item, "__module__", None))
        if any(str(home).startswith("toca.") for home in homes):
            found.append(where)
        inside = _inside(item)
        found += [f"{where}.{name}" for name in inside if str(name).startswith("_toca")]
        waiting += [(f"{where}.{name}", value) for name, value in inside.items()]
    return found


def _inside(item: Any) -> dict[Any, Any]:
    inside = dict(item) if isinstance(item, dict) else dict(getattr(item, "__dict__", {}))
    if isinstance(item, (list, tuple)):
        inside |= dict(enumerate(item))
    names = ("__self__", "__func__", "func", "args", "__closure__", "cell_contents")
    return inside | {name: getattr(item, name) for name in names if hasattr(item, name)}


def inputs_of(family: str, steps: int) -> Inputs:
    """With an image for an adapter: other processors do not look at it."""
    generator = torch.Generator().manual_seed(0)
    image = {"ip_hidden_states": [torch.randn(1, 4, TEXT_WIDTH, generator=generator)]}
    extra = {"joint_attention_kwargs": image} if family == "flux" else {}
    return [call | extra for call in inputs_for(family, steps)]


# --- exchanges -------------------------------------------------------------------------------------------------------


def load_ip_adapter(transformer: nn.Module) -> None:
    """What `FluxPipeline.load_ip_adapter` does to the attention of a transformer; weights by chance."""
    processors: dict[str, Any] = {}
    for name, processor in transformer.attn_processors.items():
        if name.startswith("single"):
            processors[name] = processor.__class__()
        else:
            made = FluxIPAdapterAttnProcessor(transformer.inner_dim, TEXT_WIDTH, num_tokens=(4,))
            processors[name] = randomize(made)
    transformer.set_attn_processor(processors)


class Holder(FluxIPAdapterMixin):
    """The least of a pipeline that `unload_ip_adapter` of diffusers works on."""

    def __init__(self, transformer: nn.Module):
        self.transformer = transformer
        self.safety_checker = None


def remake(transformer: nn.Module) -> None:
    """Every processor anew from its class, as adapters that are unloaded leave it."""
    for module in transformer.modules():
        if hasattr(module, "set_processor") and not isinstance(module.get_processor(), nn.Module):
            module.set_processor(module.get_processor().__class__())


def copied(transformer: nn.Module) -> None:
    """Every processor a copy of itself."""
    for i, module in enumerate([module for module in transformer.modules() if hasattr(module, "set_processor")]):
        processor = module.get_processor()
        module.set_processor(copy.deepcopy(processor) if i % 2 else pickle.loads(pickle.dumps(processor)))


def exchange_module(transformer: nn.Module) -> None:
    block = transformer.transformer_blocks[1]
    block.ff = copy.deepcopy(block.ff)


def swap_modules(transformer: nn.Module) -> None:
    """Two blocks' feed-forwards change places."""
    one, two = transformer.transformer_blocks[0], transformer.transformer_blocks[1]
    one.ff, two.ff = two.ff, one.ff


def fuse_and_unfuse(transformer: Any) -> None:
    transformer.fuse_qkv_projections()
    transformer.unfuse_qkv_projections()


EXCHANGES: dict[str, Callable[[Any], None]] = {
    "remake": remake,
    "copied": copied,
    "module": exchange_module,
    "swap": swap_modules,
    "fuse": lambda transformer: transformer.fuse_qkv_projections(),
    "unfuse": fuse_and_unfuse,
    "default": lambda transformer: transformer.set_default_attn_processor(),
    "load adapter": load_ip_adapter,
    "unload adapter": lambda transformer: Holder(transformer).unload_ip_adapter(),
}
COMMON = ("remake", "copied", "module", "swap")
BY_FAMILY = {
    "dit": COMMON,
    "pixart": (*COMMON, "fuse", "unfuse", "default"),
    "flux": (*COMMON, "fuse", "unfuse", "load adapter", "unload adapter"),
    "latte": COMMON,
}
EACH = [(family, exchange) for family in FAMILIES for exchange in BY_FAMILY[family]]


@pytest.mark.parametrize(("family", "exchange"), EACH)
@pytest.mark.parametrize("name", ["self", "forecast", "gate"])
def test_exchange_while_on(family: str, exchange: str, name: str) -> None:
    """The next generation is that of a model on which the cache was put afterwards; what is refused then is refused
    again and again. Off, the model is the stock one after the same exchange, and nothing of ours is on it."""
    transformer, stock = TINY[family](), TINY[family]()
    inputs, method = inputs_of(family, STEPS), method_of(family, name)
    toca.enable_cache(transformer, method, num_inference_steps=STEPS)
    run_steps(transformer, inputs)
    for model in (transformer, stock):
        EXCHANGES[exchange](model)
    wanted = run_steps(stock, inputs)
    try:
        afterwards = cached_run(stock, method, inputs)
    except ValueError:
        for _ in range(2):
            with pytest.raises(ValueError, match="cannot measure"):
                run_steps(transformer, inputs)
    else:
        assert differ(afterwards, wanted)
        assert_equal(run_steps(transformer, inputs), afterwards)
    toca.disable_cache(transformer)
    assert not traces_of_toca(transformer)
    assert_equal(run_steps(transformer, inputs), wanted)


def test_unfused_processors_use_unfused_weights() -> None:
    """`unfuse_qkv_projections` of PixArt leaves the fused layers where they are, and their flag."""
    transformer, inputs, method = TINY["pixart"](), inputs_for("pixart", STEPS), method_of("pixart", "self")
    wanted = cached_run(TINY["pixart"](1), method, inputs)
    for change in (transformer.fuse_qkv_projections, transformer.unfuse_qkv_projections):
        with toca.cached(transformer, method, num_inference_steps=STEPS):
            run_steps(transformer, inputs)
            change()
            run_steps(transformer, inputs)
    assert not traces_of_toca(transformer)
    transformer.load_state_dict(TINY["pixart"](1).state_dict(), strict=False)
    assert_close(cached_run(transformer, method, inputs), wanted)


METHODS = ("fora", "self", "random", "forecast", "gate", "gate-input", "forecast-output", "none")


@every_family
@pytest.mark.parametrize("seed", range(5))
def test_any_course_ends_at_the_stock_model(family: str, seed: int) -> None:
    """Operations by chance; a twin that never has a cache goes through the same exchanges."""
    chance, transformer, twin = random.Random(seed), TINY[family](), TINY[family]()
    inputs, course = inputs_of(family, 4), []
    for _ in range(12):
        operation = chance.choice(("on", "on", "off", "run", "run", "abort", *BY_FAMILY[family]))
        course.append(operation)
        try:
            if operation == "on":
                toca.enable_cache(transformer, method_of(family, chance.choice(METHODS)), num_inference_steps=4)
            elif operation == "off":
                toca.disable_cache(transformer)
            elif operation in ("run", "abort"):
                run_steps(transformer, inputs if operation == "run" else inputs[:2])
            else:
                for model in (transformer, twin):
                    EXCHANGES[operation](model)
        except ValueError as error:
            assert "already on" in str(error) or "cannot measure" in str(error), (course, error)
    toca.disable_cache(transformer)
    assert not traces_of_toca(transformer), course
    assert_equal(run_steps(transformer, inputs), run_steps(twin, inputs))
    for what in ("modules", "attributes", "hooks"):
        assert snapshot(transformer)[what] == snapshot(twin)[what], course


# --- processors that nobody knows ------------------------------------------------------------------------------------


class Unknown(AttnProcessor2_0):
    """A processor of the user's own."""


NO_ATTENTION = ("gate", "gate-model", "forecast-output", "none")


@every_family
@pytest.mark.parametrize("name", NO_ATTENTION)
def test_a_method_without_attention_leaves_it_alone(family: str, name: str) -> None:
    """What keeps nothing of attention neither touches it nor minds who has replaced it."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    wanted = cached_run(transformer, method_of(family, name), inputs)
    attentions = [module for module in transformer.modules() if hasattr(module, "get_processor")]
    for module in attentions:
        module.forward = (lambda stock: lambda *args, **kwargs: stock(*args, **kwargs))(module.forward)
    before = [(type(module), dict(vars(module))) for module in attentions]
    with toca.cached(transformer, method_of(family, name), num_inference_steps=STEPS):
        assert [(type(module), vars(module)) for module in attentions] == before
        assert_equal(run_steps(transformer, inputs), wanted)


@pytest.mark.parametrize("name", [*NO_ATTENTION, "fora", "random", "gate-input", "forecast"])
def test_unknown_processors_set_while_on(name: str) -> None:
    """No method minds that reuses attention and does not measure it."""
    transformer, inputs = TINY["pixart"](), inputs_for("pixart", STEPS)
    wanted = cached_run(transformer, method_of("pixart", name), inputs)
    with toca.cached(transformer, method_of("pixart", name), num_inference_steps=STEPS):
        transformer.set_attn_processor(Unknown())
        assert_equal(run_steps(transformer, inputs), wanted)


def test_a_namesake_of_a_known_processor_is_not_measured() -> None:
    transformer = TINY["pixart"]()
    transformer.set_attn_processor(type("AttnProcessor2_0", (AttnProcessor2_0,), {"__module__": "mine"})())
    with pytest.raises(ValueError, match="cannot measure"):
        toca.enable_cache(transformer, method_of("pixart", "self"), num_inference_steps=STEPS)


# --- copies ----------------------------------------------------------------------------------------------------------


@every_family
@pytest.mark.parametrize(("name", "copying"), [("self", "deepcopy"), ("gate-input", "pickle"), ("forecast", "save")])
def test_a_copy_has_no_cache(family: str, name: str, copying: str, tmp_path: Any) -> None:
    """Made in the middle of a generation; the original goes on."""
    transformer, inputs, method = TINY[family](), inputs_for(family, STEPS), method_of(family, name)
    wanted, stock = cached_run(transformer, method, inputs), run_steps(transformer, inputs)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        got = run_steps(transformer, inputs[:3])
        if copying == "save":
            transformer.save_pretrained(tmp_path)
            made = type(transformer).from_pretrained(tmp_path)
        else:
            made = copy.deepcopy(transformer) if copying == "deepcopy" else pickle.loads(pickle.dumps(transformer))
        got += run_steps(transformer, inputs[3:])
    assert_equal(got, wanted)
    assert not traces_of_toca(made)
    if copying != "save":
        assert snapshot(made)["attributes"] == snapshot(transformer)["attributes"]
        assert snapshot(made)["hooks"] == snapshot(transformer)["hooks"]
    # Weights read from a file lie elsewhere in memory: that alone is seen in the last digit.
    assert_close(run_steps(made, inputs), stock, 1e-5 if copying == "save" else 1e-30)
    assert differ(cached_run(made, method, inputs), stock)


def test_a_copy_of_a_part_has_no_cache() -> None:
    transformer = TINY["flux"]()
    with toca.cached(transformer, method_of("flux", "forecast-blocks"), num_inference_steps=STEPS):
        for block in (transformer.single_transformer_blocks[0], transformer.transformer_blocks[0]):
            for made in (copy.deepcopy(block), copy.copy(block.attn), pickle.loads(pickle.dumps(block))):
                assert not traces_of_toca(made)


def test_one_module_in_two_places() -> None:
    transformer = TINY["dit"]()
    transformer.transformer_blocks[1].ff = transformer.transformer_blocks[0].ff
    before = snapshot(transformer)
    with pytest.raises(ValueError, match="FeedForward stands in two places"):
        toca.enable_cache(transformer, toca.FORA(), num_inference_steps=STEPS)
    assert snapshot(transformer) == before
