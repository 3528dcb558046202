"""A model of an unknown class that is built of a known family's blocks: the family's data, with the model's names."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace

import diffusers
from torch import nn

from .outside import OUTSIDE
from .spec import BlockSpec, FamilySpec, has

SHARED = "diffusers.models.attention"
"""Where blocks are that no one family has to itself."""

DEPTH = 2
"""How far below the model stacks of blocks are looked for."""


def stacks_of(transformer: nn.Module, depth: int = DEPTH) -> Iterator[tuple[str, nn.ModuleList]]:
    """The lists of modules of one class in a model, by their paths."""
    for name, child in transformer.named_children():
        if isinstance(child, nn.ModuleList):
            if len({type(block) for block in child}) == 1:
                yield name, child
        elif depth > 1:
            yield from ((f"{name}.{path}", found) for path, found in stacks_of(child, depth - 1))


def recognised(transformer: nn.Module, known: Iterable[FamilySpec]) -> FamilySpec | None:
    """The family whose blocks a model is built of, with the paths that its stacks have here; `None` where there is
    none, where several could be meant, or where the model is called otherwise than the family's."""
    if "_modules" not in vars(transformer) or any(cls.__name__ in OUTSIDE for cls in type(transformer).__mro__):
        return None
    lists = dict(stacks_of(transformer))
    found = [here for spec in known if (here := _with_paths(transformer, spec, lists)) is not None]
    # A family of more stacks is the nearer one.
    most = max((len(spec.stacks) for spec in found), default=0)
    nearest = [spec for spec in found if len(spec.stacks) == most]
    return nearest[0] if len(nearest) == 1 else None


def _with_paths(transformer: nn.Module, spec: FamilySpec, lists: dict[str, nn.ModuleList]) -> FamilySpec | None:
    stacks: list[BlockSpec] = []
    for stack in spec.stacks:
        fitting = [path for path, blocks in lists.items() if _is_block_of(blocks[0], stack, spec.transformer)]
        if len(fitting) > 1:
            return None
        stacks += [replace(stack, blocks=path) for path in fitting]
    used = {stack.blocks for stack in (*stacks, *spec.side)}
    others = [blocks for path, blocks in lists.items() if path not in used and _attends(blocks[0])]
    if not stacks or others or len({stack.blocks for stack in stacks}) < len(stacks):
        return None
    if not _is_called_alike(transformer, spec):
        return None
    return replace(spec, transformer=type(transformer).__name__, stacks=tuple(stacks))


def _attends(block: nn.Module) -> bool:
    return any("Attention" in type(module).__name__ for module in block.modules())


def _is_block_of(block: nn.Module, stack: BlockSpec, transformer: str) -> bool:
    """Whether a block's class stands beside the family's transformer, or is a shared one with all that the stack
    names. Nothing is imported for it: the module of a block that is there is."""
    modules = {cls.__module__ for cls in type(block).__mro__}
    paths = [site.path for site in stack.sites]
    if any(hasattr(sys.modules.get(name), transformer) for name in modules):
        norms = [path for site in stack.sites if site.kind != "feed_forward" for path in site.norms]
        return any(has(block, path) for path in paths) and all(has(block, path) for path in norms)
    named = [*paths, *(path for site in stack.sites for path in site.norms), *stack.conditioning]
    return SHARED in modules and all(has(block, path) for path in named)


def _is_called_alike(transformer: nn.Module, spec: FamilySpec) -> bool:
    """Whether a model takes the arguments, and has the ends, that the family's data speak of."""
    takes = inspect.signature(type(transformer).forward).parameters
    arguments = {spec.latents, spec.timestep}
    stock = getattr(diffusers, spec.transformer, None)
    if stock is not None and spec.condition in inspect.signature(stock.forward).parameters:
        arguments.add(spec.condition)
    ends = all(has(transformer, path) for path in (spec.input, spec.output))
    return ends and arguments <= set(takes) and hasattr(transformer, "config") and hasattr(transformer, "dtype")
