"""Classes made on the fly: a subclass of the original's class with one method of ours.

The instance changes its class, the class itself is never touched: isinstance relations, `state_dict` keys and the
class name stay what they were, and `torch.compile` sees one class for all blocks (two or three graphs, not one a
layer). Other instances of the original class never meet ours.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

HANDLE = "_toca_handle"
"""Attribute of a module or processor that holds its `Handle` while a cache is on."""


@functools.cache
def derived_class(base: type, make_method: Callable[[type], Callable], name: str) -> type:
    """A subclass of `base`, the same one each time, whose method `name` is `make_method(base)`."""
    # The module's name is ours: whatever hangs on a class of `torch.nn` has its sizes compiled in.
    namespace = {name: make_method(base), "__module__": __name__, "__qualname__": base.__qualname__}
    return type(base.__name__, (base,), namespace)


def swap_class(
    module: Any, make_method: Callable[[type], Callable], handle: Any, attribute: str = HANDLE, name: str = "forward"
) -> Callable[[], None]:
    """Give `module` a derived class with the method `name`, and a handle in `attribute`; returns what undoes it.

    Raises:
        ValueError: If the method is overridden on the instance, which would silently win over ours.
    """
    if name == "forward":
        refuse_replaced_forward(module)
    base = type(module)
    setattr(module, attribute, handle)
    module.__class__ = derived_class(base, make_method, name)

    def undo() -> None:
        module.__class__ = base
        module.__dict__.pop(attribute, None)

    return undo


def has_own_forward(module: Any) -> bool:
    """Whether `forward` is an attribute of the instance: a call then need not come by our code."""
    return "forward" in vars(module)


def refuse_replaced_forward(module: Any) -> None:
    """Raise a `ValueError` if the instance has a `forward` of its own."""
    if has_own_forward(module):
        raise ValueError(
            f"The `forward` of a {type(module).__name__} has been replaced on the instance (by offloading hooks or "
            "another cache), which would bypass this cache. Enable this cache first and the other afterwards."
        )
