"""Caches of others: refused while they are on, before and after ours, and not taken for on when they are off."""

from __future__ import annotations

import functools
import unittest.mock
from types import SimpleNamespace
from typing import Any

import diffusers.hooks
import pytest
import torch
from diffusers.hooks import HookRegistry
from torch import nn

import toca

from ..helpers import TINY, TINY_PIPELINES, inputs_for, pipeline_arguments, run_steps
from .common import STEPS, assert_equal, cached_run, differ, every_family, method_of
from .test_exchanges import traces_of_toca
from .test_off_is_off import snapshot

BLOCKS = ("transformer_blocks",)
SETTINGS: dict[str, dict[str, Any]] = {
    "FasterCacheConfig": {
        "spatial_attention_block_skip_range": 2,
        "spatial_attention_block_identifiers": BLOCKS,
        "spatial_attention_timestep_skip_range": (-1, 2000),
        "current_timestep_callback": lambda: 500,
        "is_guidance_distilled": True,
        "tensor_format": "BCHW",
    },
    "FirstBlockCacheConfig": {"threshold": 0.5},
    "MagCacheConfig": {"num_inference_steps": STEPS, "mag_ratios": torch.ones(STEPS)},
    "PyramidAttentionBroadcastConfig": {
        "spatial_attention_block_skip_range": 2,
        "spatial_attention_block_identifiers": BLOCKS,
        "spatial_attention_timestep_skip_range": (-1, 2000),
        "current_timestep_callback": lambda: 500,
    },
    "TaylorSeerCacheConfig": {"cache_interval": 3, "disable_cache_before_step": 2, "max_order": 1},
}
APPLY = {
    "FasterCacheConfig": "apply_faster_cache",
    "FirstBlockCacheConfig": "apply_first_block_cache",
    "MagCacheConfig": "apply_mag_cache",
    "PyramidAttentionBroadcastConfig": "apply_pyramid_attention_broadcast",
    "TaylorSeerCacheConfig": "apply_taylorseer_cache",
}
KINDS = [kind for kind in SETTINGS if hasattr(diffusers.hooks, kind)]


def config_of(kind: str) -> Any:
    return getattr(diffusers.hooks, kind)(**SETTINGS[kind])


def hooks_on(transformer: nn.Module) -> set[str]:
    registries = [vars(module).get("_diffusers_hook") for module in transformer.modules()]
    return {name for registry in registries if registry for name in registry.hooks}


def remove_hooks(transformer: nn.Module) -> None:
    """The documented way off for what a function has put on."""
    for name in hooks_on(transformer):
        HookRegistry.check_if_exists_or_initialize(transformer).remove_hook(name, recurse=True)


def hooks_of(family: str, kind: str) -> set[str]:
    transformer = TINY[family]()
    getattr(diffusers.hooks, APPLY[kind])(transformer, config_of(kind))
    return hooks_on(transformer)


@pytest.mark.parametrize("family", ["flux", "latte"])
@pytest.mark.parametrize("kind", KINDS)
def test_enabled_after_ours(family: str, kind: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    stock, before = run_steps(transformer, inputs), snapshot(transformer)
    wanted = cached_run(transformer, method_of(family, "forecast-blocks"), inputs)
    with toca.cached(transformer, method_of(family, "forecast-blocks"), num_inference_steps=STEPS):
        with pytest.raises(ValueError, match="toca.disable_cache"):
            transformer.enable_cache(config_of(kind))
        assert not hooks_on(transformer) and not transformer.is_cache_enabled
        assert_equal(run_steps(transformer, inputs), wanted)
    assert snapshot(transformer) == before
    assert_equal(run_steps(transformer, inputs), stock)
    transformer.enable_cache(config_of(kind))
    transformer.disable_cache()


# What hooks nothing on a model (TaylorSeer and FasterCache on most, silently) is none.
APPLIED = [(family, kind) for family in ("dit", "pixart", "flux", "latte") for kind in KINDS if hooks_of(family, kind)]


@pytest.mark.parametrize(("family", "kind"), APPLIED)
@pytest.mark.parametrize("name", ["fora", "forecast-blocks"])
@pytest.mark.parametrize("ours_first", [True, False])
def test_applied_after_ours(family: str, kind: str, name: str, ours_first: bool) -> None:
    """By a function, which nothing of ours sees: the next generation is refused. Off in either order, the model is the
    stock one."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    stock = run_steps(transformer, inputs)
    toca.enable_cache(transformer, method_of(family, name), num_inference_steps=STEPS)
    run_steps(transformer, inputs)
    getattr(diffusers.hooks, APPLY[kind])(transformer, config_of(kind))
    for _ in range(2):
        with pytest.raises(ValueError, match="switched on.*two caches.*remove_hook") as error:
            run_steps(transformer, inputs)
        assert all(name in str(error.value) for name in hooks_on(transformer))
    for off in (toca.disable_cache, remove_hooks) if ours_first else (remove_hooks, toca.disable_cache):
        off(transformer)
    assert not traces_of_toca(transformer)
    assert_equal(run_steps(transformer, inputs), stock)
    # What it leaves behind keeps nobody off.
    assert differ(cached_run(transformer, method_of(family, name), inputs), stock)


@every_family
@pytest.mark.parametrize("kind", ["FirstBlockCacheConfig", "PyramidAttentionBroadcastConfig"])
@pytest.mark.parametrize("name", ["self", "forecast-blocks"])
def test_was_on_and_is_off(family: str, kind: str, name: str) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    wanted = cached_run(transformer, method_of(family, name), inputs)
    stock = run_steps(transformer, inputs)
    getattr(diffusers.hooks, APPLY[kind])(transformer, config_of(kind))
    remove_hooks(transformer)
    assert any("forward" in vars(module) for module in transformer.modules())
    before = snapshot(transformer)
    assert_equal(cached_run(transformer, method_of(family, name), inputs), wanted)
    assert snapshot(transformer) == before
    assert_equal(run_steps(transformer, inputs), stock)


# --- other libraries -------------------------------------------------------------------------------------------------


CACHE_DIT = """
def plain(self, *args, **kwargs):
    return type(self).forward(self, *args, **kwargs)

def on(transformer):
    transformer.forward = plain.__get__(transformer)
    transformer._is_patched = True
    original, fewer = transformer.forward, transformer.transformer_blocks[:1]

    def new_forward(self, *args, **kwargs):
        with mock.patch.object(self, "transformer_blocks", fewer):
            return original(*args, **kwargs)

    transformer.forward = functools.update_wrapper(functools.partial(new_forward, transformer), new_forward)
    transformer._original_forward = original
    transformer._is_cached = True

def off(transformer):
    transformer.forward = transformer._original_forward.__get__(transformer)
    del transformer._original_forward, transformer._is_cached
"""
"""How cache-dit 1.5.3 puts itself on: a `forward` of its own on the instance, which it leaves there, around it one
that puts other blocks in the place of the model's while it runs, and a flag."""


def stand_in() -> Any:
    library = {"__name__": "cache_dit.stand_in", "functools": functools, "mock": unittest.mock}
    exec(CACHE_DIT, library)
    return SimpleNamespace(**library)


@pytest.mark.parametrize("ours_first", [True, False])
def test_blocks_patched_by_a_library(ours_first: bool) -> None:
    library, transformer, inputs = stand_in(), TINY["pixart"](), inputs_for("pixart", STEPS)
    stock, wanted = run_steps(transformer, inputs), cached_run(transformer, toca.FORA(), inputs)
    if ours_first:
        toca.enable_cache(transformer, toca.FORA(), num_inference_steps=STEPS)
        library.on(transformer)
        for _ in range(2):
            with pytest.raises(ValueError, match="`cache_dit` was switched on.*two caches"):
                run_steps(transformer, inputs)
        toca.disable_cache(transformer)
    else:
        library.on(transformer)
        with pytest.raises(ValueError, match="`cache_dit` is already on.*two caches"):
            toca.enable_cache(transformer, toca.FORA(), num_inference_steps=STEPS)
    assert differ(run_steps(transformer, inputs), stock)
    library.off(transformer)
    assert "forward" in vars(transformer) and not traces_of_toca(transformer)
    assert_equal(run_steps(transformer, inputs), stock)
    assert_equal(cached_run(transformer, toca.FORA(), inputs), wanted)
    assert_equal(run_steps(transformer, inputs), stock)


@pytest.mark.parametrize("family", ["dit", "pixart", "flux"])
def test_cache_dit(family: str) -> None:
    cache_dit = pytest.importorskip("cache_dit")
    pipe, method = TINY_PIPELINES[family](), toca.FORA(interval=2)
    make = functools.partial(_picture, pipe, family)
    stock = make()
    with toca.cached(pipe, method):
        wanted = make()
    options = {"cache_config": cache_dit.DBCacheConfig(Fn_compute_blocks=1, residual_diff_threshold=1e9)}
    cache_dit.enable_cache(pipe, **options)
    with pytest.raises(ValueError, match="`cache_dit` is already on"):
        toca.enable_cache(pipe, method)
    other = TINY_PIPELINES[family]()
    toca.disable_cache(toca.enable_cache(other, method))
    cache_dit.disable_cache(pipe)
    toca.enable_cache(pipe, method)
    assert torch.equal(make(), wanted)
    cache_dit.enable_cache(pipe, **options)
    with pytest.raises(ValueError, match="`cache_dit` was switched on"):
        make()
    toca.disable_cache(pipe)
    cache_dit.disable_cache(pipe)
    assert not traces_of_toca(pipe.transformer)
    assert torch.equal(make(), stock)


def _picture(pipe: Any, family: str) -> torch.Tensor:
    return torch.as_tensor(pipe(**pipeline_arguments(family, 4))[0])


@pytest.mark.parametrize("where", ["class", "instance", "blocks"])
@pytest.mark.parametrize("family", ["flux", "dit"])
def test_forward_patched_by_a_script(family: str, where: str) -> None:
    """TeaCache and its like come as a script that replaces `forward` of a class; some hide behind its name. On an
    instance it is a cache where it can be told to be one."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    cls = type(transformer.transformer_blocks[0]) if where == "blocks" else type(transformer)
    stock = cls.forward

    @functools.wraps(stock)
    def patched(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return stock(self, *args, **kwargs)

    patch = {"forward": patched.__get__(transformer), "enable_teacache": True} if where == "instance" else {}
    with pytest.MonkeyPatch.context() as monkey:
        toca.enable_cache(transformer, toca.FORA(), num_inference_steps=STEPS)
        vars(transformer).update(patch)
        if not patch:
            monkey.setattr(cls, "forward", patched)
        with pytest.raises(ValueError, match="`tests` was switched on"):
            run_steps(transformer, inputs)
        toca.disable_cache(transformer)
        with pytest.raises(ValueError, match="`tests` is already on"):
            toca.enable_cache(transformer, toca.FORA(), num_inference_steps=STEPS)
        if where == "class":
            transformer.enable_teacache = False
            cached_run(transformer, toca.FORA(), inputs)
    for name in patch:
        vars(transformer).pop(name)
    cached_run(transformer, toca.FORA(), inputs)


def test_a_forward_of_a_class_of_the_users_own() -> None:
    """It is the class's own, and no patch."""

    class Mine(type(TINY["dit"]())):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    transformer = TINY["dit"]()
    transformer.__class__ = Mine
    cached_run(transformer, toca.FORA(), inputs_for("dit", STEPS))


def test_offloading_is_no_cache() -> None:
    """Hooks of accelerate around `forward`, put on after ours and taken off after it: nothing of ours stays."""
    hooks = pytest.importorskip("accelerate.hooks")
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    stock, wanted = run_steps(transformer, inputs), cached_run(transformer, toca.FORA(), inputs)
    toca.enable_cache(transformer, toca.FORA(), num_inference_steps=STEPS)
    for module in (transformer, *(block.ff for block in transformer.transformer_blocks)):
        hooks.add_hook_to_module(module, hooks.ModelHook())
    assert_equal(run_steps(transformer, inputs), wanted)
    toca.disable_cache(transformer)
    assert not traces_of_toca(transformer)
    assert_equal(run_steps(transformer, inputs), stock)
    hooks.remove_hook_from_module(transformer, recurse=True)
    assert not traces_of_toca(transformer)
    assert_equal(cached_run(transformer, toca.FORA(), inputs), wanted)
