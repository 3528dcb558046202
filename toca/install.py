"""Putting a cache on a transformer and taking it off without a trace."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

from torch import nn

from .engine import Engine
from .hooks.attention import can_measure, install_processor
from .hooks.block import BLOCK, make_call_with
from .hooks.classes import HANDLE, has_own_forward, swap_class
from .hooks.feed_forward import make_forward
from .hooks.norm import make_forward as make_norm_forward
from .hooks.parallel_block import make_forward_with
from .models import walk_blocks

ENGINE = "_toca_engine"
UNDO = "_toca_undo"
"""Attributes of a transformer while a cache is on; `disable` removes them."""


def engine_of(transformer: nn.Module) -> Engine | None:
    """The engine of a transformer whose cache is on."""
    return vars(transformer).get(ENGINE)


def has_diffusers_cache(transformer: nn.Module) -> bool:
    """Whether a cache of diffusers is on. Its `apply_*` functions set no flag, but only its caches hook modules with
    something that remembers."""
    if getattr(transformer, "is_cache_enabled", False):
        return True
    registries = [vars(module).get("_diffusers_hook") for module in transformer.modules()]
    hooks = [hook for registry in registries if registry is not None for hook in registry.hooks.values()]
    return any(getattr(hook, "_is_stateful", False) for hook in hooks)


def install(transformer: nn.Module, engine: Engine, reaches_blocks: bool) -> None:
    """Connect every site's module, and every block if they are to be reached, with its handle; on an error everything
    is put back.

    Raises:
        ValueError: If a site cannot be reached; it says why and what to do.
    """
    undo: list[Callable[[], None]] = []
    try:
        handles = iter(enumerate(engine.freezer.handles))
        for _, _, _, block, block_spec in walk_blocks(transformer, engine.spec):
            for site_spec in block_spec.sites:
                i, handle = next(handles)
                undo.append(_connect(block, block_spec, site_spec, handle, engine))
                norms = [block.get_submodule(path) for path in site_spec.norms]
                if any(has_own_forward(norm) for norm in norms):
                    # Narrowing a norm only saves time: one that is hooked by somebody else is left as it is.
                    engine.freezer.readers[i] = None
                    continue
                undo.extend([swap_class(norm, make_norm_forward, handle) for norm in norms])
        undo.extend(_connect_root(transformer, engine))
        engine.check_connected = functools.partial(check_connected, transformer, engine)
        engine.connect_blocks = functools.partial(connect_blocks, transformer, engine, undo)
        if reaches_blocks:
            engine.connect_blocks()
    except BaseException:
        for step in reversed(undo):
            step()
        raise
    setattr(transformer, ENGINE, engine)
    setattr(transformer, UNDO, undo)


def connect_blocks(transformer: nn.Module, engine: Engine, undo: list[Callable[[], None]]) -> None:
    """Connect every block with its handle, once; what undoes it is added to `undo`."""
    for layer, _, _, block, block_spec in walk_blocks(transformer, engine.spec):
        if BLOCK not in vars(block):
            handle = engine.freezer.blocks[layer]
            undo.append(swap_class(block, make_call_with(block_spec.streams), handle, BLOCK, "__call__"))


def remove(transformer: nn.Module) -> None:
    """Put everything back."""
    for step in reversed(vars(transformer).pop(UNDO)):
        step()
    vars(transformer).pop(ENGINE)


def _connect(block, block_spec, site_spec, handle, engine: Engine) -> Callable[[], None]:
    module = block.get_submodule(site_spec.path)
    if site_spec.kind == "attention":
        return install_processor(module, handle, engine.spec.attention)
    if site_spec.kind == "parallel_block":
        return swap_class(module, make_forward_with(block_spec.parallel), handle)
    _refuse_chunks(block)
    return swap_class(module, make_forward, handle)


def _refuse_chunks(block: nn.Module) -> None:
    if getattr(block, "_chunk_size", None) is not None:
        raise ValueError(
            "`set_chunk_feed_forward` is on, which cuts the tokens of a feed-forward into pieces; switch it off with "
            "`disable_forward_chunking()` or `set_chunk_feed_forward(None)` to use a cache."
        )


def check_connected(transformer: nn.Module, engine: Engine) -> None:
    """Refuse to go on where somebody has exchanged an attention processor (fused projections, an adapter) or a module
    since the cache was put on: that site would compute from what its narrowed norm left.

    Raises:
        ValueError: If a site's decision no longer reaches its module.
    """
    handles = iter(engine.freezer.handles)
    for layer, _, _, block, block_spec in walk_blocks(transformer, engine.spec):
        for site_spec in block_spec.sites:
            module = block.get_submodule(site_spec.path)
            carrier = module.get_processor() if site_spec.kind == "attention" else module
            if getattr(carrier, HANDLE, None) is not next(handles):
                raise ValueError(
                    f"The {site_spec.module} of layer {layer} or its processor was exchanged while the cache was on. "
                    "Call toca.disable_cache(target) and toca.enable_cache(target, method) again."
                )
            if site_spec.kind == "feed_forward":
                _refuse_chunks(block)


def check_measurable(transformer: nn.Module, engine: Engine, plan: Any) -> None:
    """Refuse a plan that measures attention, or keeps its keys and values, where its processor is unknown.

    Raises:
        ValueError: If such an attention module has a processor that the family's dialect does not speak.
    """
    measured = {plan.layout.sites[i].key for i in plan.score_sources.values()}
    if plan.narrows_stack:
        measured |= {site.key for site in plan.layout.sites if site.attends == "self"}
    for layer, _, _, block, block_spec in walk_blocks(transformer, engine.spec):
        for site_spec in block_spec.sites:
            attn = block.get_submodule(site_spec.path)
            if (layer, site_spec.module) in measured and not can_measure(attn, engine.spec.attention):
                raise ValueError(
                    f"The attention of layer {layer} uses {type(attn.get_processor()).__name__}, which this library "
                    f"cannot measure (it knows {', '.join(engine.spec.attention.processors)}). Use a method that "
                    'measures none and drops no tokens, such as "fora" or "random", or the default processor.'
                )


def _connect_root(transformer: nn.Module, engine: Engine) -> list[Callable[[], None]]:
    before = transformer.register_forward_pre_hook(engine.before_call, with_kwargs=True)
    after = transformer.register_forward_hook(engine.after_call, always_call=True)
    undo = [before.remove, after.remove, engine.end_generation]
    if engine.spec.entry is not None:
        undo.append(transformer.get_submodule(engine.spec.entry).register_forward_hook(engine.after_entry).remove)
    shadows = {"_reset_stateful_cache": _end_of_pipeline(transformer, engine)}
    if hasattr(transformer, "cache_context"):
        shadows["cache_context"] = _named_context(transformer, engine)
    for name, function in shadows.items():
        undo.append(_shadow(transformer, name, function))
    return undo


def _shadow(transformer: nn.Module, name: str, function: Callable) -> Callable[[], None]:
    """Put `function` before the method of its class, or of its instance, that has this name."""
    own = vars(transformer).get(name)
    vars(transformer)[name] = function

    def undo() -> None:
        vars(transformer).pop(name)
        if own is not None:
            vars(transformer)[name] = own

    return undo


def _end_of_pipeline(transformer: nn.Module, engine: Engine) -> Callable:
    """diffusers calls `_reset_stateful_cache` of every component that has it when a pipeline call ends."""
    original = getattr(transformer, "_reset_stateful_cache", None)

    def reset_stateful_cache(*args: Any, **kwargs: Any) -> None:
        engine.end_generation()
        if original is not None:
            original(*args, **kwargs)

    return reset_stateful_cache


def _named_context(transformer: nn.Module, engine: Engine) -> Callable:
    """`cache_context` of this instance, listening to the name that the pipeline gives the branch."""
    original = transformer.cache_context

    @contextlib.contextmanager
    def cache_context(name: str, *args: Any, **kwargs: Any):
        with engine.named(name), original(name, *args, **kwargs):
            yield

    return cache_context
