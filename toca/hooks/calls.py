"""Calls of modules, counted while a pipeline runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

Watching = TypeVar("Watching", bound="CallWatch")


class CallWatch:
    """While it is entered, counts the calls of the modules; `_before` and `_after` are told of each.

    Enter it after a cache is on: its hooks then stand outside the cache's, whose work counts.

    Args:
        modules (`Sequence[nn.Module]`): Those that are watched.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._modules = tuple(modules)
        self._handles: list[RemovableHandle] = []
        self.calls = 0

    def __enter__(self: Watching) -> Watching:
        for module in self._modules:
            self._handles.append(module.register_forward_pre_hook(self._before, prepend=True, with_kwargs=True))
            self._handles.append(module.register_forward_hook(self._after))
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.calls += 1

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Nothing to do, unless a subclass has something."""
