"""Classes made on the fly: a subclass of the original's class with one method of ours.

The instance changes its class, the class itself is never touched: isinstance relations, `state_dict` keys and the
class name stay what they were, and `torch.compile` sees one class for all blocks (two or three graphs, not one a
layer). Other instances of the original class never meet ours, and a copy is an instance of the original class.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import MethodType
from typing import Any, SupportsIndex, cast

from torch import nn

HANDLE = "_toca_handle"
"""Attribute of a module that holds its `Handle` while a cache is on."""
BLOCK = "_toca_block"
"""Attribute of a block that holds its `BlockHandle` while a cache is on that reaches blocks."""
FORWARD = "_toca_forward"
"""Attribute of a module that holds the bound `forward` of its own class, which some library left on the instance."""
HOOKING = ("accelerate.hooks", "diffusers.hooks.hooks")
"""Modules whose functions stand around a `forward`, which they call and keep."""

Function = Callable[..., Any]
"""A function that a class calls with its instance first."""
Maker = Callable[[type[nn.Module]], Function]
"""What makes the method of a class of ours from the class that it derives from."""

_CLASS = vars(object)["__class__"]


@functools.cache
def derived_class(base: type[nn.Module], make_method: Maker, name: str, attribute: str) -> type:
    """A subclass of `base`, the same one each time, whose method `name` is `make_method(base)`. An instance without a
    handle in `attribute` does what one of `base` does."""

    def reduce_ex(self: nn.Module, protocol: SupportsIndex) -> tuple[Any, ...]:
        """For `copy` and `pickle`: an instance of the stock class, without a handle."""
        function, arguments, state, *rest = cast(tuple[Any, ...], base.__reduce_ex__(self, protocol))
        arguments = tuple(stock_class(item) if isinstance(item, type) else item for item in arguments)
        state = dict(state)
        _strip(state)
        return (function, arguments, state, *rest)

    namespace = {
        name: make_method(base),
        attribute: None,
        # Who asks an instance for its class is told the stock one: diffusers looks it up in registries.
        "__class__": property(lambda self: stock_class(type(self)), _CLASS.__set__),
        "__reduce_ex__": reduce_ex,
        # The module's name is ours: whatever hangs on a class of `torch.nn` has its sizes compiled in.
        "__module__": __name__,
        "__qualname__": base.__qualname__,
    }
    return type(base.__name__, (base,), namespace)


def is_ours(cls: type) -> bool:
    """Whether a class was made here."""
    return cls.__module__ == __name__


def stock_class(cls: type) -> type:
    """The class that a class of ours was made from; any other class itself."""
    return next(base for base in cls.__mro__ if not is_ours(base))


def swap_class(module: nn.Module, make_method: Maker, handle: object, name: str, attribute: str) -> None:
    """Give `module` a derived class with the method `name`, and a handle in `attribute`; `restore` undoes it.

    Raises:
        ValueError: If `forward` is replaced on the instance, which would silently win over ours.
    """
    kept: list[Any] = []
    if name == "forward":
        if _is_dispatched(module):
            kept = _who_keeps(module, [type(module).forward])
        if replaces_forward(module) and not kept:
            raise ValueError(
                f"The `forward` of a {type(module).__name__} has been replaced on the instance (by offloading hooks "
                "or another cache), which would bypass this cache. Enable this cache first and the other afterwards."
            )
        if name in vars(module) and not kept:
            vars(module)[FORWARD] = vars(module).pop(name)
    vars(module)[attribute] = handle
    base: type = type(module)
    _CLASS.__set__(module, derived_class(base, make_method, name, attribute))
    _hand_over(kept, MethodType(type(module).forward, module))


def is_connected(module: nn.Module, handle: object, attribute: str) -> bool:
    """Whether a call of the module asks this handle."""
    return vars(module).get(attribute) is handle and hasattr(type(module), attribute)


def replaces_forward(module: nn.Module) -> bool:
    """Whether the instance has a `forward` that is not its class's own: a call then need not come by our code. Hooks
    that have gone leave the class's own behind."""
    forward = vars(module).get("forward")
    return forward is not None and not _is_bound(forward, module, [type(module).forward])


def restore(module: nn.Module) -> None:
    """Take everything off `module` that this file has put on it, also where others have taken hold of it since."""
    made = [vars(cls) for cls in type(module).__mro__ if is_ours(cls)]
    forwards = [methods["forward"] for methods in made if "forward" in methods]
    if is_ours(type(module)):
        _CLASS.__set__(module, stock_class(type(module)))
    if _is_bound(vars(module).get("forward"), module, forwards):
        # Whoever hooked the module after us has gone, and put back what it had found.
        del vars(module)["forward"]
    _hand_over(_who_keeps(module, forwards) if forwards else [], MethodType(type(module).forward, module))
    _strip(vars(module))


def _is_dispatched(module: nn.Module) -> bool:
    """Whether hooks stand around the module's `forward`, which they call and keep, that bring weights and inputs
    together (`device_map`, sequential and group offloading, casting): whatever they call may be ours. One of
    diffusers' that runs something else in the module's place is none of them."""
    forward, registry = vars(module).get("forward"), vars(module).get("_diffusers_hook")
    if any(hasattr(hook, "new_forward") for hook in getattr(registry, "hooks", {}).values()):
        return False
    return getattr(getattr(forward, "func", None), "__module__", "") in HOOKING


def _who_keeps(module: nn.Module, functions: list[Function]) -> list[tuple[Any, list[str]]]:
    """Who keeps one of these functions as a method of this module, and under which names."""
    found = [
        (keeper, [name for name, value in vars(keeper).items() if _is_bound(value, module, functions)])
        for keeper in keepers(module)
    ]
    return [(keeper, names) for keeper, names in found if names]


def _hand_over(kept: list[tuple[Any, list[str]]], forward: MethodType) -> None:
    """Give those who keep a module's `forward` another one."""
    for keeper, names in kept:
        vars(keeper).update(dict.fromkeys(names, forward))
        if "__wrapped__" in names:
            functools.update_wrapper(keeper, forward)


def _strip(attributes: dict[str, Any]) -> None:
    """Take out of a module's attributes what `swap_class` has put there."""
    for name in (HANDLE, BLOCK):
        attributes.pop(name, None)
    if FORWARD in attributes:
        attributes.setdefault("forward", attributes.pop(FORWARD))


def _is_bound(method: Any, module: nn.Module, functions: list[Function]) -> bool:
    """Whether a value is one of these functions as a method of this module."""
    return getattr(method, "__self__", None) is module and getattr(method, "__func__", None) in functions


def keepers(module: nn.Module) -> list[Any]:
    """Where those who hook a module keep the `forward` that they found: accelerate on the module, diffusers in its
    registry, both on what they put in its place."""
    references = getattr(vars(module).get("_diffusers_hook"), "_fn_refs", [])
    forward = vars(module).get("forward")
    return [keeper for keeper in (module, forward, *references) if hasattr(keeper, "__dict__")]
