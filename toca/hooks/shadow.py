"""Methods of an instance in the place of its class's, put there and taken off without a trace."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .classes import keepers


class Shadow:
    """A method that an instance has in the place of its class's while a cache is on.

    Args:
        module (`nn.Module`): The instance; held weakly.
        name (`str`): Name of the method.
        act (`Callable`): `(original, *args, **kwargs) -> Any`, what a call does; `original` is the bound method that
            would have been called, or `None` where there is none.
    """

    # Nothing that `functools.update_wrapper` would copy to who wraps it.
    __slots__ = ("act", "module", "name", "own")

    def __init__(self, module: nn.Module, name: str, act: Callable):
        self.module, self.name, self.act = weakref.ref(module), name, act
        self.own = vars(module).get(name)

    @property
    def original(self) -> Any:
        """The bound method in whose place it stands; `None` where there is none."""
        module = self.module()
        method = getattr(type(module), self.name, None)
        return method.__get__(module) if self.own is None and method is not None else self.own

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.original)

    # A compiler would take the bound method for what the instance has under that name, which is this.
    @torch.compiler.disable(recursive=False)
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.act(self.original, *args, **kwargs)


def shadow(module: nn.Module, name: str, act: Callable) -> None:
    """Have a call of a method `act`, unless it does already, whoever has wrapped the method since."""
    method = vars(module).get(name)
    while method is not None:
        if isinstance(method, Shadow) and method.act == act:
            return
        method = getattr(method, "__wrapped__", None)
    vars(module)[name] = Shadow(module, name, act)


def unshadow(module: nn.Module) -> None:
    """Put back what the instance had, also where others have kept our method since to call it or to put it back."""
    for keeper in keepers(module):
        held = [(name, value) for name, value in vars(keeper).items() if isinstance(value, Shadow)]
        for name, value in held:
            if keeper is not module or name != value.name:
                setattr(keeper, name, value.original)
            if name == "__wrapped__":
                functools.update_wrapper(keeper, value.original)
    unshadow_state(vars(module))


def unshadow_state(attributes: dict[str, Any]) -> None:
    """Take our methods out of an instance's attributes, or of a copy of these."""
    for name, value in [(name, value) for name, value in attributes.items() if isinstance(value, Shadow)]:
        del attributes[name]
        if value.own is not None:
            attributes[name] = value.own
