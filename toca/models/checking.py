"""Whether a family's data are sound: by themselves when they are registered, and against a model when a cache is put
on it. Every fault names the attribute."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import nn

from ..checks import check_fields, shown
from ..registry import checks
from .spec import MODULES, BlockSpec, FamilySpec, SiteSpec, has

KINDS = ("attention", "feed_forward", "parallel_block")


# --- by themselves -------------------------------------------------------------------------------------------------


@checks("family")
def check_family_spec(spec: Any, known: Mapping[str, FamilySpec]) -> None:
    """Refuse data that no model can be described by.

    Args:
        spec (`FamilySpec`): What is to be registered.
        known (`Mapping[str, FamilySpec]`): The families by name.

    Raises:
        TypeError: If it is no `FamilySpec`.
        ValueError: It names the attribute, and what it must be.
    """
    if not isinstance(spec, FamilySpec):
        raise TypeError(f"A family is registered by its FamilySpec, got {shown(spec)}.")
    where = f"The family {shown(spec.name)}"
    _check_fields(spec, where)
    taken = [name for name, other in known.items() if other.transformer == spec.transformer and name != spec.name]
    _require(not taken, where, f"`transformer`: {spec.transformer} is the family {', '.join(map(repr, taken))}")
    _require(bool(spec.stacks), where, "`stacks` must name a stack of blocks")
    names = [stack.stack for stack in spec.stacks]
    _require(len(set(names)) == len(names), where, f"`stacks` must have names of their own, got {', '.join(names)}")
    for name, count in (("call_shape", 2), ("default_shape", 5)):
        _check_takes(getattr(spec, name), count, name, where)
    for i, stack in enumerate(spec.stacks):
        _check_stack(stack, f"{where}, stacks[{i}] ({shown(stack.stack)})")
    _check_paths(where, (spec.input, spec.output, *(path for path, _ in spec.around)))


def _check_stack(stack: BlockSpec, where: str) -> None:
    _check_fields(stack, where)
    _require(bool(stack.sites), where, "`sites` must name what is kept of a block")
    _require(stack.main in stack.streams, where, f"`streams` must have {stack.main!r}, which is `main`")
    carried = len(stack.carries) in (0, len(stack.streams))
    _require(carried, where, f"`carries` must be one for each of the {len(stack.streams)} streams")
    unread = set(stack.read) - set(stack.streams)
    _require(not unread, where, f"`read` must be of `streams`, got {', '.join(sorted(unread))}")
    _check_paths(where, (stack.blocks, *stack.conditioning))
    modules = [site.module for site in stack.sites if site.unless is None]
    _require(len(set(modules)) == len(modules), where, f"`sites` must differ in `module`, got {', '.join(modules)}")
    for site in stack.sites:
        _check_site(site, stack, f"{where}, site {shown(site.module)}")
    _require(stack.sites[-1].rows in (None, stack.rows), where, "`rows` of the last site must be the block's")


def _check_site(site: SiteSpec, stack: BlockSpec, where: str) -> None:
    _check_fields(site, where)
    for name, allowed in (("module", MODULES), ("kind", KINDS)):
        value = getattr(site, name)
        _require(value in allowed, where, f"`{name}` must be one of {', '.join(allowed)}{_near(value, allowed)}")
    inside = site.inside is None or site.inside in {other.module for other in stack.sites if other is not site}
    _require(inside, where, f"`inside` must name another site of the block, got {shown(site.inside)}")
    if site.kind == "attention":
        costed = site.width is not None or site.token_flops is not None
        _require(costed, where, "`width` must name the linear layer that is heads x head_dim wide")
    if site.kind == "parallel_block":
        _require(stack.parallel is not None, where, "`parallel` of its BlockSpec must say the pieces of the block")
    _check_paths(where, (site.path, *site.norms, *site.query_linears, *site.text_linears))


def _check_fields(part: Any, where: str) -> None:
    try:
        check_fields(part)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _check_takes(function: Callable, count: int, name: str, where: str) -> None:
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError as error:
        raise ValueError(f"{where}: `{name}` must take {count} arguments: {error}.") from error
    except ValueError:
        # Of a builtin nobody can tell.
        return


def _check_paths(where: str, paths: Iterable[Any]) -> None:
    for path in paths:
        if callable(path):
            # Whoever tells a cost by a function names no path.
            continue
        fine = not path or all(name and not any(map(str.isspace, name)) for name in path.split("."))
        _require(fine, where, f"{shown(path)} must be a path of attributes, joined by dots")


def _require(condition: bool, where: str, what: str) -> None:
    if not condition:
        raise ValueError(f"{where}: {what}.")


def _near(name: Any, names: Iterable[str]) -> str:
    found = difflib.get_close_matches(str(name), list(names), n=1)
    return f", got {shown(name)}" + (f" (did you mean {found[0]!r}?)" if found else "")


# --- against a model -----------------------------------------------------------------------------------------------


def check_model(transformer: nn.Module, spec: FamilySpec) -> None:
    """Refuse a model that lacks what its family's data name. Blocks of diffusers, and whole checkpoints, may lack a
    site, a norm, or an embedder, and so may what derives from them; of other classes every path must be there in one
    block of its stack at least.

    Raises:
        ValueError: It names the attribute, the class that lacks it, and what that one has.
    """
    fault = next(faults_of(transformer, spec), None)
    if fault is not None:
        raise ValueError(fault)


def faults_of(transformer: nn.Module, spec: FamilySpec) -> Iterator[str]:
    """Every path that leads nowhere, as a sentence."""
    said = f"The family {spec.name!r} names"
    named = [cls for cls in type(transformer).__mro__ if cls.__name__ == spec.transformer]
    stock = any(cls.__module__.partition(".")[0] == "diffusers" for cls in named)
    here = [path for path in (spec.input, spec.output, spec.entry) if path is not None]
    around = () if stock else tuple(path for path, _ in spec.around if isinstance(path, str))
    for path in dict.fromkeys((*here, *around)):
        yield from _fault(said, [transformer], path)
    found = [stack for stack in spec.stacks if has(transformer, stack.blocks)]
    for stack in spec.stacks if not (stock and found) else ():
        yield from _fault(said, [transformer], stack.blocks, "the stack ")
    for stack in found:
        blocks = list(transformer.get_submodule(stack.blocks).children())
        paths = {site.path: "the site " for site in stack.sites}
        if stock and any(has(block, path) for block in blocks for path in paths):
            continue
        for path, kind in paths.items():
            yield from _fault(said, blocks, path, kind)
        for site in stack.sites:
            yield from _faults_of_site(said, blocks, site)
        for path in stack.conditioning:
            yield from _fault(said, blocks, path)


def _faults_of_site(said: str, blocks: list[nn.Module], site: SiteSpec) -> Iterator[str]:
    having = [block for block in blocks if has(block, site.path)]
    for path in site.norms:
        yield from _fault(said, having, path, "the norm ")
    modules = [block.get_submodule(site.path) for block in having]
    for path in dict.fromkeys((*site.query_linears, *site.text_linears, *filter(None, (site.width, site.output)))):
        yield from _fault(said, modules, path, f"of {site.module} the layer ")


def _fault(said: str, modules: list[nn.Module], path: str, kind: str = "") -> Iterator[str]:
    """The sentence of a path that none of some modules has."""
    if not modules or any(has(module, path) for module in modules):
        return
    holder, name = modules[0], path
    while "." in name and has(holder, name.partition(".")[0]):
        first, _, name = name.partition(".")
        holder = holder.get_submodule(first)
    there = [child for child, _ in holder.named_children()]
    missing = name.partition(".")[0]
    near = difflib.get_close_matches(missing, there, n=1, cutoff=0.4)
    others = [child for child in there if child not in near]
    listed = ", ".join([*near, *others][:12]) or "no submodules"
    yield (
        f"{said} {kind}`{path}`, but {type(holder).__name__} has no `{missing}`; it has {listed}"
        f"{f' (the nearest is `{near[0]}`)' if near else ''}."
    )
