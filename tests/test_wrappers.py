"""A cache together with what else moves, casts or quantises a model's weights, in both orders."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

import peft
import pytest
import torch
from accelerate import cpu_offload, cpu_offload_with_hook, dispatch_model
from accelerate.hooks import remove_hook_from_module
from diffusers.hooks import apply_group_offloading
from torch import nn

import toca
from toca.eval.counting.flops import FlopMeter

from .helpers import TINY, TINY_PIPELINES, inputs_for, pipeline_arguments, run_steps
from .left_behind import left_behind

STEPS = 6
CPU = torch.device("cpu")
ORDERS = ("wrapper first", "cache first")
METHODS: dict[str, Callable[[], toca.Method]] = {
    "whole modules": lambda: toca.FORA(interval=2),
    "tokens": lambda: toca.ToCa(interval=3),
    "whole blocks": lambda: toca.FBCache(threshold=2.0),
}
Wrap = Callable[[Any], Any]


def dispatched_to_disk(model: Any) -> None:
    """`device_map`, with the blocks on a disk."""
    places: dict[str, Any] = {name: "disk" if "block" in name else "cpu" for name, _ in model.named_children()}
    dispatch_model(model, places, main_device=CPU, offload_dir=tempfile.mkdtemp(), force_hooks=True)


def grouped(**kinds: Any) -> Wrap:
    return lambda model: apply_group_offloading(model, onload_device=CPU, offload_device=CPU, **kinds)


@functools.cache
def groups_without_accelerator() -> bool:
    """Whether diffusers' own group offloading runs where torch has no accelerator: older releases refuse together."""
    try:
        grouped(offload_type="leaf_level")(nn.Sequential(nn.Linear(1, 1)))
    except RuntimeError:
        return False
    return True


def ways(cases: Iterable[tuple[str, ...]]) -> list[Any]:
    """The cases, the last of each a way; those in groups are skipped where the host has none."""
    return [pytest.param(*case, marks=in_groups if "group" in case[-1] else ()) for case in cases]


def cast(model: Any) -> None:
    model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)


def cast_in_groups(model: Any) -> None:
    cast(model)
    grouped(offload_type="leaf_level")(model)


def int8(model: Any) -> None:
    """torch's own dynamic quantisation, of the layers in the blocks: `proj_out` is asked for its weight's dtype."""
    for name, child in model.named_children():
        if "block" in name:
            torch.ao.quantization.quantize_dynamic(child, {nn.Linear}, inplace=True)


MOVING: dict[str, Wrap] = {
    "device_map": lambda model: dispatch_model(model, {"": "cpu"}, force_hooks=True),
    "device_map with disk": dispatched_to_disk,
    "model offload": lambda model: cpu_offload_with_hook(model, CPU),
    "sequential offload": lambda model: cpu_offload(model, CPU),
    "group offload by blocks": grouped(offload_type="block_level", num_blocks_per_group=1),
    "group offload by leaves": grouped(offload_type="leaf_level"),
}
in_groups = pytest.mark.skipif(not groups_without_accelerator(), reason="group offloading needs an accelerator here")
CHANGING: dict[str, Wrap] = {"cast": cast, "cast, in groups": cast_in_groups, "int8": int8}


@functools.cache
def alone(family: str, name: str, prepare: Wrap | None = None) -> tuple[list[torch.Tensor], str]:
    """Outputs and steps of a cache on a model, which something may have been done with before."""
    model, inputs = TINY[family](), inputs_for(family, STEPS)
    if prepare is not None:
        prepare(model)
    with toca.cached(model, METHODS[name](), num_inference_steps=STEPS):
        return run_steps(model, inputs), toca.summary(model).steps


@functools.cache
def run_stock(family: str) -> list[torch.Tensor]:
    return run_steps(TINY[family](), inputs_for(family, STEPS))


def put_on(model: Any, wrap: Wrap, method: toca.Method, order: str) -> None:
    both: tuple[Callable[[], Any], ...] = (
        lambda: wrap(model),
        lambda: toca.enable_cache(model, method, num_inference_steps=STEPS),
    )
    for one in both if order == ORDERS[0] else reversed(both):
        one()


def assert_same(got: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
    assert all(torch.equal(g, w) for g, w in zip(got, wanted, strict=True))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("family, way", ways([*(("dit", way) for way in MOVING), ("flux", "group offload by blocks")]))
def test_weights_that_move(family: str, way: str, order: str) -> None:
    """Outputs and steps are those without it, and what is not computed is not computed."""
    inputs = inputs_for(family, STEPS)
    stock = run_stock(family)
    for name in ("tokens",) if family == "flux" or "disk" in way else METHODS:
        model, method, (wanted, steps) = TINY[family](), METHODS[name], alone(family, name)
        put_on(model, MOVING[way], method(), order)
        with FlopMeter() as meter:
            assert_same(run_steps(model, inputs), wanted)
        summary = toca.summary(model)
        assert (summary.steps, summary.bypassed, summary.flops) == (steps, 0, meter.total)
        assert summary.flops < summary.flops_full
        toca.disable_cache(model)
        assert not left_behind(model)
        assert_same(run_steps(model, inputs), stock)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("way", ways((way,) for way in CHANGING))
def test_weights_that_change(way: str, order: str) -> None:
    """The cache is that of the model as it is with it."""
    model, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    CHANGING[way](model)
    stock = run_steps(model, inputs)
    for name, method in METHODS.items():
        model, (wanted, steps) = TINY["dit"](), alone("dit", name, CHANGING[way])
        put_on(model, CHANGING[way], method(), order)
        assert_same(run_steps(model, inputs), wanted)
        summary = toca.summary(model)
        assert (summary.steps, summary.bypassed) == (steps, 0) and set(steps) != {"F"}
        toca.disable_cache(model)
        assert not left_behind(model)
        assert_same(run_steps(model, inputs), stock)
    with toca.cached(model, toca.FORA(interval=1), num_inference_steps=STEPS):
        assert_same(run_steps(model, inputs), stock)


@pytest.mark.parametrize("order", ORDERS)
def test_hooks_that_go_while_the_cache_is_on(order: str) -> None:
    model, inputs, (wanted, steps) = TINY["dit"](), inputs_for("dit", STEPS), alone("dit", "whole modules")
    put_on(model, MOVING["device_map"], toca.FORA(interval=2), order)
    assert_same(run_steps(model, inputs), wanted)
    remove_hook_from_module(model, recurse=True)
    assert_same(run_steps(model, inputs), wanted)
    assert toca.summary(model).steps == steps
    toca.disable_cache(model)
    assert not left_behind(model)


@pytest.mark.parametrize("order", ORDERS)
def test_a_pipeline_that_is_offloaded(order: str) -> None:
    def generate(pipe: Any) -> Any:
        return pipe(**pipeline_arguments("dit", STEPS)).images

    with toca.cached(TINY_PIPELINES["dit"](), toca.FORA(interval=2)) as pipe:
        wanted = generate(pipe)
    pipe = TINY_PIPELINES["dit"]()
    both = (
        lambda: pipe.enable_model_cpu_offload(device="cpu"),
        lambda: toca.enable_cache(pipe, toca.FORA(interval=2)),
    )
    for one in both if order == ORDERS[0] else reversed(both):
        one()
    for _ in range(2):
        assert (generate(pipe) == wanted).all()
        assert toca.summary(pipe).steps == "FFrFrF"
    toca.disable_cache(pipe)
    assert not left_behind(pipe.transformer)


@in_groups
@pytest.mark.parametrize("order", ORDERS)
def test_groups_of_several_blocks(order: str) -> None:
    """The first one of a group brings the weights of all: refused where it may be left out, and only there."""
    inputs, two = inputs_for("dit", STEPS), grouped(offload_type="block_level", num_blocks_per_group=2)
    model = TINY["dit"]()
    put_on(model, two, toca.FORA(interval=2), order)
    assert_same(run_steps(model, inputs), alone("dit", "whole modules")[0])
    model = TINY["dit"]()
    with pytest.raises(ValueError, match="num_blocks_per_group=1"):
        put_on(model, two, toca.FBCache(threshold=2.0), order)
        run_steps(model, inputs)


# LoRA.


def load(model: Any, name: str, seed: int) -> None:
    """An adapter whose matrices are far from zero; the layers that had none are exchanged."""
    targets = ["to_q", "to_k", "to_v", "to_out.0", "proj_mlp", "proj_out", "net.2"]
    model.add_adapter(peft.LoraConfig(r=2, lora_alpha=4, target_modules=targets), adapter_name=name)
    generator = torch.Generator().manual_seed(seed)
    for path, parameter in model.named_parameters():
        if f".{name}." in path:
            parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.requires_grad_(False).eval()


def with_two() -> Any:
    model = TINY["flux"]()
    load(model, "one", 1)
    load(model, "two", 2)
    model.set_adapters(["one"], [1.0])
    return model


EXCHANGES: dict[str, Wrap] = {
    "loaded": lambda model: load(model, "three", 3),
    "swapped": lambda model: model.set_adapters(["two"], [1.0]),
    "rescaled": lambda model: model.set_adapters(["one"], [0.25]),
    "switched off": lambda model: model.disable_lora(),
    "unloaded": lambda model: model.delete_adapters(["one", "two"]),
    "merged": lambda model: model.fuse_lora(lora_scale=0.5),
}


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_adapter_between_and_within_generations(exchange: str) -> None:
    """Nothing that was kept with other weights is reused: in the middle of a generation the next step is full."""
    inputs = inputs_for("flux", STEPS)
    fresh = with_two()
    with toca.cached(fresh, toca.FORA(interval=4), num_inference_steps=STEPS):
        before = run_steps(fresh, inputs)
    EXCHANGES[exchange](fresh)
    stock = run_steps(fresh, inputs)
    with toca.cached(fresh, toca.FORA(interval=4), num_inference_steps=STEPS):
        after = run_steps(fresh, inputs)
    model = with_two()
    with toca.cached(model, toca.FORA(interval=4), num_inference_steps=STEPS):
        assert_same(run_steps(model, inputs), before)
        assert toca.summary(model).steps == "FFrrrF"
        run_steps(model, inputs[:3])
        EXCHANGES[exchange](model)
        assert_same(run_steps(model, inputs[3:4]), stock[3:4])
        run_steps(model, inputs[4:])
        assert toca.summary(model).steps == "FFrFrF"
        assert_same(run_steps(model, inputs), after)
        assert toca.summary(model).steps == "FFrrrF"
    assert not left_behind(model)
