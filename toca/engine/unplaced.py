"""Calls that no plan was made for: what of a call changes what the model runs, so that it runs in full.

A plan knows the blocks of a model and calls all of them. An argument that leaves some out, or does something that
nobody has looked at yet (one of a later diffusers), and a hook that takes the place of a module, make another model.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from ..models import FamilySpec, walk_blocks
from ..models.dialect import processor_of
from .arguments import unclear

PLAIN = (bool, int, float, str)

HOOKS = "_diffusers_hook"
"""Attribute of a module that diffusers has hooked."""

MISSED = "A layer was not called, or called twice: such calls run in full, past the cache."


class NotReached(Exception):
    """Raised within the engine where a pass has not come by all layers that it was to come by."""


class Unplaced:
    """Says of a transformer's calls why one runs in full, or keeps its batch whole.

    Args:
        transformer (`nn.Module`): The model.
        spec (`FamilySpec`): Names the arguments that every plan goes together with.
    """

    def __init__(self, transformer: nn.Module, spec: FamilySpec):
        self.spec = spec
        self.defaults = _defaults(type(transformer).forward)
        self.known = frozenset().union(spec.batched, spec.rows_at, spec.listed, spec.whole, spec.free)
        self.modules = list(_reached(transformer, spec))
        self.attentions: list[Any] = [module for module in self.modules if processor_of(module) is not None]

    def why_in_full(self, call: dict[str, Any], chooses_tokens: bool = False) -> str | None:
        """Why a call runs in full; `None` where a plan can be carried out, which may choose tokens."""
        for name, value in call.items():
            if not self._is_known(name, value):
                shown = f"={value!r}" if isinstance(value, PLAIN) else ""
                return (
                    f"`{name}{shown}` changes what the model runs, which no plan knows: such calls run in full, past "
                    "the cache. Leave it out to have them cached."
                )
        if any(HOOKS in module.__dict__ and _is_replaced(module) for module in self.modules):
            return "A hook takes the place of a layer (skip-layer guidance): such calls run in full, past the cache."
        why = None if self.spec.in_full is None else self.spec.in_full(call)
        if why is not None:
            return why
        if chooses_tokens and not self.spec.image_is_first and self.spec.is_ragged(call):
            return (
                "The texts of a batch differ in length, so that the image of each sample begins elsewhere: where "
                "tokens are chosen such calls run in full, past the cache. Call the model with one prompt at a time."
            )
        return None

    def why_whole(self, call: dict[str, Any], batch: int) -> str | None:
        """Why the rows of a call must stay together; `None` where they can be parted."""
        if self.spec.is_ragged(call):
            return "The texts of a batch differ in length, and are padded together: the samples decide together."
        why = None if self.spec.together is None else self.spec.together(call)
        if why is not None:
            return why
        name = unclear(call, self.spec, batch)
        if name is not None:
            return (
                f"Whether `{name}` has rows for each sample cannot be told from its shape: the samples of a batch "
                "decide together."
            )
        for attention in self.attentions:
            processor = type(processor_of(attention)).__name__
            if not (self.spec.attention.by_row(attention) or processor in self.spec.by_row):
                return (
                    f"{processor} may mix the samples of a batch (as perturbed-attention guidance does): they decide "
                    "together."
                )
        return None

    def _is_known(self, name: str, value: Any) -> bool:
        if name in self.spec.only:
            wanted = self.spec.only[name]
            return wanted(value) if callable(wanted) else value == wanted
        default = self.defaults.get(name)
        known = name in self.known or value is None or value is default
        return known or (isinstance(value, PLAIN) and value == default)


@functools.cache
def _defaults(forward: Callable[..., Any]) -> dict[str, Any]:
    """The defaults of the arguments of a function."""
    return {name: parameter.default for name, parameter in inspect.signature(forward).parameters.items()}


def _reached(transformer: nn.Module, spec: FamilySpec) -> Iterator[nn.Module]:
    """The blocks, and the modules of their sites."""
    for _, _, _, block, block_spec in walk_blocks(transformer, spec):
        yield block
        yield from (block.get_submodule(site.path) for site in block_spec.sites if site.path)


def _is_replaced(module: nn.Module) -> bool:
    """Whether a hook of diffusers runs something else in the module's place. Hooks that only come before or after it
    (offloading, casting) leave it what it is."""
    registry = vars(module).get(HOOKS)
    return registry is not None and any(hasattr(hook, "new_forward") for hook in registry.hooks.values())
