"""Watching what a cache does at the sites of a transformer, from outside and without a hand in it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..models import family_of, walk_blocks
from .classes import HANDLE
from .handle import Handle
from .turns import Turns

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

Tell = Callable[[int, "Tensor | None"], None]


class Watch:
    """While it is entered, tells of every site that computes, as soon as its module has been called.

    Enter it when the cache is on. For eager mode.

    Args:
        transformer (`nn.Module`): A transformer of a family that toca knows.
        tell (`Callable`): `(site, tokens) -> None`: the site's number in the plan's layout, and the tokens that it
            computed, counted over the batch; `None` for all of them. Sites that compute nothing are not told of.
    """

    def __init__(self, transformer: nn.Module, tell: Tell) -> None:
        self._transformer, self._tell = transformer, tell
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Watch:
        spec = family_of(self._transformer)
        blocks = [] if spec is None else [found[3:] for found in walk_blocks(self._transformer, spec)]
        modules = [block.get_submodule(site.path) for block, block_spec in blocks for site in block_spec.sites]
        sites: dict[nn.Module, list[int]] = {}
        for i, module in enumerate(modules):
            sites.setdefault(module, []).append(i)
        self._hooks = [module.register_forward_hook(self._telling_of(calls)) for module, calls in sites.items()]
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _telling_of(self, sites: list[int]) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        """A hook that tells of a module's site, in turn of its sites where a block calls it several times."""
        calls = itertools.cycle(sites)

        def told(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            site, handle = next(calls), vars(module).get(HANDLE)
            if isinstance(handle, Turns):
                site, handle = sites[handle.last], handle.handles[handle.last]
            if handle is None:
                self._tell(site, None)
            elif handle.action in ("compute", "partial"):
                self._tell(site, _computed(handle))

        return told


def _computed(handle: Handle) -> Tensor | None:
    """The tokens that a site computes, counted over the batch; `None` for all of them."""
    if handle.present is not None:
        return handle.present.over_batch.flatten()
    return None if handle.index is None else handle.index.flatten()
