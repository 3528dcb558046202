"""Caches of others on a model: noticed while they are on, and what they leave behind is not taken for one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from ..hooks.classes import stock_class
from ..hooks.shadow import Shadow
from ..models import all_blocks, every_module, family_of

FLAG = "_is_cached"
"""Attribute of a transformer while a cache of cache-dit or ParaAttention is on."""
SWITCH = "enable_teacache"
"""Attribute by which TeaCache's `forward` is told to cache, or not to."""
WRAPPERS = ("accelerate", "diffusers", "peft", "torch")
"""Packages that wrap `forward` for other reasons than to cache."""


class OtherCache(NamedTuple):
    """A cache of somebody else: whose it is, and how it is switched off."""

    name: str
    remedy: str


def refuse_other_cache(transformer: nn.Module, what: str) -> None:
    """Refuse a transformer on which a cache of somebody else is on.

    Args:
        transformer (`nn.Module`): The model.
        what (`str`): What that cache did: "is already on".

    Raises:
        ValueError: If there is one; it says whose, and what to do.
    """
    other = other_cache(transformer)
    if other is not None:
        raise ValueError(f"{other.name} {what}, and two caches cannot share a model: {other.remedy}.")


def other_cache(transformer: nn.Module) -> OtherCache | None:
    """The cache of somebody else that is on."""
    if getattr(transformer, "is_cache_enabled", False):
        return OtherCache("A cache of diffusers", "call `transformer.disable_cache()`")
    hooks = _diffusers_hooks(transformer)
    if hooks:
        return OtherCache(
            f"A cache of diffusers ({', '.join(hooks)})",
            "take each hook off by `HookRegistry.check_if_exists_or_initialize(transformer).remove_hook(name)`",
        )
    package = _foreign_forward(transformer)
    if package is None:
        return None
    return OtherCache(f"A cache, or another `forward`, of `{package}`", "switch that off or put the class's own back")


def _diffusers_hooks(transformer: nn.Module) -> list[str]:
    """The hooks of a cache of diffusers. Its `apply_*` functions set no flag, but only its caches hook modules with
    something that remembers, by itself or for all blocks together."""
    registries = [vars(module).get("_diffusers_hook") for module in every_module(transformer)]
    hooks = [item for registry in registries if registry is not None for item in registry.hooks.items()]
    return sorted({name for name, hook in hooks if _remembers(hook)})


def _remembers(hook: object) -> bool:
    return getattr(hook, "_is_stateful", False) or hasattr(hook, "state_manager")


def _foreign_forward(transformer: nn.Module) -> str | None:
    """The package whose code runs in the place of the `forward` that the transformer, or a block of it, should have;
    `None` where it is told not to cache."""
    own = vars(transformer).get("forward")
    if isinstance(own, Shadow):
        own = own.own
    if getattr(transformer, FLAG, False):
        return _package(type(transformer).forward if own is None else own)
    if not getattr(transformer, SWITCH, True):
        return None
    spec = family_of(transformer)
    blocks = [] if spec is None else all_blocks(transformer, spec)
    classes = {type(transformer), *(stock_class(type(block)) for block in blocks)}
    owners = [next(base for base in cls.__mro__ if "forward" in vars(base)) for cls in classes]
    found = [(_package(vars(owner)["forward"]), _top(owner.__module__)) for owner in owners]
    # On an instance it may be anybody's, to log or to time, unless it is one that is told to cache.
    if own is not None and hasattr(transformer, SWITCH):
        found.append((_package(own), _top(type(transformer).__module__)))
    return next((package for package, home in found if package not in (home, *WRAPPERS)), None)


def _package(function: Callable) -> str:
    """The package whose code a function is, whatever it wraps."""
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    names = getattr(function, "__globals__", {"__name__": type(function).__module__})
    return _top(names["__name__"])


def _top(module: str) -> str:
    return module.partition(".")[0]
