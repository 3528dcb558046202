"""The blocks of a model in the order in which they run, with the sites that each has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from torch import nn

from .spec import BlockSpec, FamilySpec, SiteSpec, has

Spec = TypeVar("Spec", BlockSpec, SiteSpec)
Apart = tuple[str, ...] | Callable[[Any], int]
"""Linear layers by their paths, or a function of the module that says their FLOPs."""


def walk_blocks(transformer: nn.Module, spec: FamilySpec) -> Iterator[tuple[int, int, int, nn.Module, BlockSpec]]:
    """Yield (layer, index in its stack, depth of the stack, block, block spec) in the order of execution; the block
    spec names what this block has."""
    for layer, (index, depth, block, block_spec) in enumerate(_walk(transformer, spec)):
        own = _with(
            block_spec,
            sites=sites_there(block, block_spec.sites),
            beside=sites_there(block, block_spec.beside),
            conditioning=tuple(path for path in block_spec.conditioning if has(block, path)),
        )
        yield layer, index, depth, block, own


def all_blocks(transformer: nn.Module, spec: FamilySpec) -> list[nn.Module]:
    """The blocks in the order of execution, where nobody asks what they have."""
    return [block for _, _, block, _ in _walk(transformer, spec)]


def _walk(transformer: nn.Module, spec: FamilySpec) -> Iterator[tuple[int, int, nn.Module, BlockSpec]]:
    """Yield (index in its stack, depth of the stack, block, spec of the stack) in the order of execution."""
    stacks = [(block_spec, blocks_of(transformer, block_spec)) for block_spec in spec.stacks]
    if spec.interleaved:
        order = [(i, s) for i in range(len(stacks[0][1])) for s in range(len(stacks))]
    else:
        order = [(i, s) for s, (_, blocks) in enumerate(stacks) for i in range(len(blocks))]
    for index, stack in order:
        block_spec, blocks = stacks[stack]
        yield index, len(blocks), blocks[index], block_spec


def every_module(root: nn.Module) -> list[nn.Module]:
    """A module and all that are in it: `modules()` in a quarter of the time and another order, for what is looked at
    before each generation."""
    found, seen = [root], {root}
    for module in found:
        # Most have none inside.
        for child in module._modules.values() if module._modules else ():
            if child is not None and child not in seen:
                seen.add(child)
                found.append(child)
    return found


def blocks_of(transformer: nn.Module, stack: BlockSpec) -> list[nn.Module]:
    """The blocks of a stack; none where a checkpoint has no such stack."""
    if not has(transformer, stack.blocks):
        return []
    found = transformer.get_submodule(stack.blocks)
    return list(found) if isinstance(found, nn.ModuleList) else [found]


def sites_there(block: nn.Module, sites: tuple[SiteSpec, ...]) -> tuple[SiteSpec, ...]:
    """The sites that a block has, with the norms and linear layers that it has of them."""
    found = []
    for site in sites:
        if not has(block, site.path) or not _is_there(block, site):
            continue
        module = block.get_submodule(site.path)
        found.append(
            _with(
                site,
                norms=tuple(path for path in site.norms if has(block, path)),
                query_linears=tuple(path for path in site.query_linears if has(module, path)),
                text_linears=tuple(path for path in site.text_linears if has(module, path)),
                apart=tuple((part, _paths_there(module, paths)) for part, paths in site.apart),
            )
        )
    return tuple(found)


def _with(spec: Spec, **fields: Any) -> Spec:
    """A spec with other fields; itself where it has them already, as most blocks have all that their stack names."""
    return spec if all(getattr(spec, name) == value for name, value in fields.items()) else replace(spec, **fields)


def _is_there(block: nn.Module, site: SiteSpec) -> bool:
    given = site.given is None or has(block, site.given)
    return given and (site.unless is None or not has(block, site.unless))


def _paths_there(module: nn.Module, paths: Apart) -> Apart:
    """Of the paths those that a module has."""
    return paths if callable(paths) else tuple(path for path in paths if has(module, path))
