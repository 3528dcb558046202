"""Connecting a model's modules with the handles of their sites: what a plan reaches, and nothing else."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from torch import nn

from ..hooks.attention import make_forward_with as attention
from ..hooks.block import make_call_with
from ..hooks.classes import BLOCK, HANDLE, is_connected, replaces_forward, restore, swap_class
from ..hooks.feed_forward import make_forward as feed_forward
from ..hooks.feed_forward import make_forward_in_turn as feed_forward_in_turn
from ..hooks.norm import make_forward as norm
from ..hooks.parallel_block import make_forward_with as parallel_block
from ..hooks.tracing import is_compiled, refuse_compiled
from ..hooks.turns import Turns
from ..models import FamilySpec, all_blocks, every_module, walk_blocks
from ..models.spec import BlockSpec, SiteSpec
from ..plan.table import PlanTable
from .decisions import Decisions
from .other_caches import refuse_other_cache


class Point(NamedTuple):
    """A module whose method `name` is to ask a handle."""

    module: nn.Module
    make_method: Callable[[type], Callable]
    handle: Any
    name: str = "forward"
    attribute: str = HANDLE


class Connection:
    """What hangs on the blocks of one transformer. No module is held alive.

    Args:
        transformer (`nn.Module`): The model; held weakly.
        spec (`FamilySpec`): Where the sites are.
        decisions (`Decisions`): Their handles.
    """

    def __init__(self, transformer: nn.Module, spec: FamilySpec, decisions: Decisions):
        self.spec, self.decisions = spec, decisions
        self.first_block = weakref.ref(all_blocks(transformer, spec)[0])
        self.readers = tuple(decisions.readers)
        self.modules: weakref.WeakSet[nn.Module] = weakref.WeakSet()

    def follow(self, transformer: nn.Module, plan: PlanTable) -> None:
        """Connect what the plan reaches; anew where somebody has exchanged a module since. On an error nothing is.

        Raises:
            ValueError: If a site cannot be reached, or its attention not be measured; it says why and what to do.
        """
        self._refuse_shared(transformer)
        if any(span.around == "blocks" for span in plan.kept_spans):
            _refuse_groups(all_blocks(transformer, self.spec))
        try:
            points = list(self._points(transformer, plan))
            if all(is_connected(point.module, point.handle, point.attribute) for point in points):
                return
            self.remove(transformer)
            for point in points:
                self._connect(point)
        except BaseException:
            self.remove(transformer)
            raise

    @property
    def compiled(self) -> bool:
        """Whether the blocks are compiled now; they may be at any time."""
        block = self.first_block()
        return block is not None and is_compiled(block)

    def follow_to_run(self, transformer: nn.Module, plan: PlanTable) -> None:
        """The same before a generation.

        Raises:
            ValueError: As `follow`; or if another cache has been switched on, or the blocks compiled by a torch that
                cannot trace them.
        """
        refuse_other_cache(transformer, "was switched on while toca's is on")
        self.follow(transformer, plan)
        block = all_blocks(transformer, self.spec)[0]
        self.first_block = weakref.ref(block)
        refuse_compiled(block)

    def remove(self, transformer: nn.Module) -> None:
        """Take everything off, wherever it went."""
        for module in {*self.modules, *transformer.modules()}:
            restore(module)

    def _refuse_shared(self, transformer: nn.Module) -> None:
        """Refuse blocks that another model has too, whose cache is on."""
        modules = (module for module in every_module(transformer) if module not in self.modules)
        if any(vars(module).get(name) is not None for module in modules for name in (HANDLE, BLOCK)):
            raise ValueError(
                "Blocks of this model are another model's too, on which a toca cache is on: call "
                "toca.disable_cache on that one first."
            )

    def _connect(self, point: Point) -> None:
        if vars(point.module).get(point.attribute) is not None:
            raise ValueError(
                f"One {type(point.module).__name__} stands in two places of the model, which a cache cannot tell "
                "apart. Give each place a module of its own."
            )
        swap_class(*point)
        self.modules.add(point.module)

    def _points(self, transformer: nn.Module, plan: PlanTable) -> Iterator[Point]:
        """All modules to connect. Of a kind of module that is reached in one layer all are connected where they can
        be, so that compiled blocks are of one kind."""
        sites, measured = plan.layout.sites, measured_sites(plan)
        reached = reached_sites(plan) | measured | placed_sites(plan)
        kinds = self._kinds({(sites[i].stack, sites[i].module) for i in reached})
        blocks = list(walk_blocks(transformer, self.spec))
        if sum(len(block_spec.sites) for *_, block_spec in blocks) != len(sites):
            raise ValueError(
                "The number of the model's blocks has changed since the cache was put on. Call "
                "toca.disable_cache(target) and toca.enable_cache(target, method) again."
            )
        self.decisions.connected = [i for i, site in enumerate(sites) if (site.stack, site.module) in kinds]
        here = ((block, block_spec, site) for *_, block, block_spec in blocks for site in block_spec.sites)
        for i, (block, block_spec, site_spec) in enumerate(here):
            if i in measured:
                self._check_measurable(transformer, block.get_submodule(site_spec.path), sites[i].layer)
            if (sites[i].stack, sites[i].module) in kinds:
                yield from self._site(i, block, block_spec, site_spec, i in reached)
        if self.decisions.wraps(plan):
            for layer, _, _, block, block_spec in blocks:
                handle = self.decisions.blocks[layer]
                maker = make_call_with(block_spec.streams, block_spec.tokens_first)
                yield Point(block, maker, handle, "__call__", BLOCK)

    def _kinds(self, reached: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """Kinds of modules to connect, by stack and name: those that are reached, and their other calls where a block
        calls one several times."""
        paths = {
            (stack.stack, site.path)
            for stack in self.spec.stacks
            for site in stack.sites
            if (stack.stack, site.module) in reached
        }
        return {
            (stack.stack, site.module)
            for stack in self.spec.stacks
            for site in stack.sites
            if (stack.stack, site.path) in paths
        }

    def _site(
        self, i: int, block: nn.Module, block_spec: BlockSpec, site_spec: SiteSpec, reached: bool
    ) -> Iterator[Point]:
        handle, module = self.decisions.handles[i], block.get_submodule(site_spec.path)
        if reached and site_spec.kind == "feed_forward":
            _refuse_chunks(block)
        if not reached and replaces_forward(module):
            return
        turns = self._turns(i, block_spec, site_spec)
        if turns is None:
            yield Point(module, self._maker(block_spec, site_spec), handle)
        elif turns.handles[0] is handle:
            yield Point(module, feed_forward_in_turn, turns)
        norms = [block.get_submodule(path) for path in site_spec.norms]
        # A lean norm only saves time: one that is hooked by somebody else is left as it is.
        hooked = any(replaces_forward(each) for each in norms)
        self.decisions.readers[i] = None if hooked else self.readers[i]
        if not hooked:
            yield from (Point(each, norm, handle) for each in norms)

    def _maker(self, block_spec: BlockSpec, site_spec: SiteSpec) -> Callable[[type], Callable]:
        if site_spec.kind == "parallel_block":
            return parallel_block(block_spec.parallel)
        return attention(self.spec.attention) if site_spec.kind == "attention" else feed_forward

    def _turns(self, i: int, block_spec: BlockSpec, site_spec: SiteSpec) -> Turns | None:
        """The handles of a module that a block calls several times; `None` for one that is called once."""
        start = i - next(place for place, site in enumerate(block_spec.sites) if site is site_spec)
        places = [start + place for place, site in enumerate(block_spec.sites) if site.path == site_spec.path]
        if len(places) == 1:
            return None
        handles = [self.decisions.handles[place] for place in places]
        return self.decisions.turns.setdefault(places[0], Turns(handles))

    def _check_measurable(self, transformer: nn.Module, attn: Any, layer: int) -> None:
        """Refuse attention that is to be measured, or its keys and values kept, where the dialect cannot."""
        reason = self.spec.attention.why_not(attn)
        if reason is not None:
            raise ValueError(f"The attention of layer {layer} of this {type(transformer).__name__} {reason}")


def measured_sites(plan: PlanTable) -> set[int]:
    """The attention sites that are ever measured, or whose keys and values are kept."""
    return {*plan.score_sources.values(), *plan.attended_sites}


def placed_sites(plan: PlanTable) -> set[int]:
    """All attention sites where tokens are dropped before the first block: the others must keep their positions."""
    sites = enumerate(plan.layout.sites)
    return {i for i, site in sites if site.attends is not None and plan.selection_spans}


def reached_sites(plan: PlanTable) -> set[int]:
    """The sites that are ever to do anything but compute; others are none of the cache's business."""
    probed = plan.gate is not None and plan.gate.probe == 0
    sites = enumerate(plan.layout.sites)
    return {i for i, site in sites if plan.kept[i] or (probed and site.layer == 0)}


def _refuse_groups(blocks: list[nn.Module]) -> None:
    """Refuse blocks that come to the device in groups where some are left out: the first of a group brings the weights
    of all, and the last takes them away."""
    registries = [vars(block).get("_diffusers_hook") for block in blocks]
    hooks = [hook for registry in registries if registry is not None for hook in registry.hooks.values()]
    groups = [getattr(getattr(hook, "group", None), "modules", ()) for hook in hooks]
    if any(sum(module in blocks for module in group) > 1 for group in groups):
        raise ValueError(
            "Blocks are offloaded in groups of several, and the plan leaves blocks out: a group's weights would not "
            "come, or not go. Call `enable_group_offload` with `num_blocks_per_group=1` or "
            '`offload_type="leaf_level"`, or use a method that leaves out modules within blocks, such as "fora".'
        )


def _refuse_chunks(block: nn.Module) -> None:
    if getattr(block, "_chunk_size", None) is not None:
        raise ValueError(
            "`set_chunk_feed_forward` is on, which cuts the tokens of a feed-forward into pieces; switch it off with "
            "`disable_forward_chunking()` or `set_chunk_feed_forward(None)` to use a cache."
        )
