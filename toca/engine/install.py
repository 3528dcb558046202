"""Putting a cache on a transformer and taking it off without a trace.

The transformer holds the engine, and nothing of ours holds the transformer: it is freed when it is dropped.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from ..hooks.shadow import shadow, unshadow, unshadow_state
from ..plan.table import PlanTable
from .callers import Caller
from .engine import Engine

ENGINE = "_toca_engine"
"""Attribute of a transformer while a cache is on."""


def engine_of(transformer: nn.Module) -> Engine | None:
    """The engine of a transformer whose cache is on."""
    return vars(transformer).get(ENGINE)


def install(transformer: nn.Module, engine: Engine, plan: PlanTable) -> None:
    """Connect what the plan reaches with the engine, and the engine with the transformer's calls.

    Raises:
        ValueError: If a site cannot be reached; it says why and what to do. Nothing is changed then.
    """
    engine.follow_ranks(transformer, plan)
    engine.connection.follow(transformer, plan)
    vars(transformer)[ENGINE] = engine
    transformer.register_forward_pre_hook(engine.before_call, with_kwargs=True)
    transformer.register_forward_hook(engine.after_call, always_call=True)
    engine.stand_in(transformer)
    # diffusers calls it for every component that has it when a pipeline call ends.
    shadow(transformer, "_reset_stateful_cache", _end_of_pipeline(engine))
    if hasattr(transformer, "cache_context"):
        shadow(transformer, "cache_context", _named_context(engine))
    if hasattr(transformer, "enable_cache"):
        shadow(transformer, "enable_cache", _refuse_other_cache)
    shadow(transformer, "__reduce_ex__", _reduce_to_stock)
    if engine.spec.entry is not None:
        entry = transformer.get_submodule(engine.spec.entry)
        entry.register_forward_hook(engine.after_entry)
        shadow(entry, "__reduce_ex__", _reduce_to_stock)
        engine.connection.modules.add(entry)


def remove(transformer: nn.Module) -> None:
    """Put everything back."""
    engine = vars(transformer)[ENGINE]
    modules = {*engine.connection.modules, *transformer.modules()}
    engine.connection.remove(transformer)
    for module in modules:
        unshadow(module)
        _strip(vars(module))
    engine.end_generation()


def _strip(attributes: dict[str, Any]) -> None:
    """Take out of a module's attributes whatever this file has put there."""
    hooks = [held for name, held in attributes.items() if _holds_hooks(name, held)]
    ours = [key for held in hooks for key, hook in held.items() if isinstance(getattr(hook, "__self__", None), Engine)]
    for held in hooks:
        for key in ours:
            held.pop(key, None)
    attributes.pop(ENGINE, None)
    unshadow_state(attributes)


def _holds_hooks(name: str, value: Any) -> bool:
    """Whether an attribute holds native hooks, or what is noted of them, by their number."""
    return name.startswith("_forward") and isinstance(value, dict)


def _reduce_to_stock(original: Callable, protocol: int) -> tuple:
    """For `copy` and `pickle`: the module without its cache."""
    function, arguments, state, *rest = original(protocol)
    state = {name: copy.copy(value) if _holds_hooks(name, value) else value for name, value in state.items()}
    _strip(state)
    return (function, arguments, state, *rest)


def _end_of_pipeline(engine: Engine) -> Callable:
    def reset_stateful_cache(original: Callable | None, *args: Any, **kwargs: Any) -> None:
        engine.end_generation_of(Caller.current())
        if original is not None:
            original(*args, **kwargs)

    return reset_stateful_cache


def _named_context(engine: Engine) -> Callable:
    """`cache_context` of this instance, listening to what the pipeline says of the branch and the step."""

    @contextlib.contextmanager
    def cache_context(original: Callable, name: str, *args: Any, **kwargs: Any) -> Iterator[None]:
        with engine.names.named(name, *args, **kwargs), original(name, *args, **kwargs):
            yield

    return cache_context


def _refuse_other_cache(original: Callable, *args: Any, **kwargs: Any) -> None:
    raise ValueError(
        "A toca cache is on, and two caches cannot share a model: call toca.disable_cache(target) before "
        "`enable_cache` of diffusers."
    )
