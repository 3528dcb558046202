"""Freezing a call's decision: what every site does is written into its handle before block 0 runs."""

from __future__ import annotations

import torch

from .actions import Action
from .filling import Handle
from .models import FamilySpec, Layout
from .plan import Plan
from .state import Branch
from .tokens import TokenGroup


class Freezer:
    """The handles of a transformer's sites, and how a decision gets into them.

    Args:
        layout (`Layout`): The sites.
        spec (`FamilySpec`): Where they are.

    Attributes:
        handles (`list[Handle]`): One for each site.
        readers (`list[tuple[int, ...] | None]`): For each site, `None` if no norm feeds it alone, else the sites
            inside it that its norm feeds too.
    """

    def __init__(self, layout: Layout, spec: FamilySpec):
        self.layout = layout
        self.handles = [Handle() for _ in layout.sites]
        self.readers = self._readers_of_norms(spec)
        self._frozen: tuple | None = None

    def _readers_of_norms(self, spec: FamilySpec) -> list[tuple[int, ...] | None]:
        index = {site.key: i for i, site in enumerate(self.layout.sites)}
        specs = {(stack.stack, site.module): site for stack in spec.stacks for site in stack.sites}
        inside: dict[int, list[int]] = {}
        for i, site in enumerate(self.layout.sites):
            if site.inside is not None:
                inside.setdefault(index[site.layer, site.inside], []).append(i)
        return [
            tuple(inside.get(i, ())) if specs[site.stack, site.module].norms else None
            for i, site in enumerate(self.layout.sites)
        ]

    def bypass(self) -> None:
        """Every site computes and remembers nothing."""
        self._frozen = None
        for handle in self.handles:
            handle.bypass()
            handle.state = None

    def freeze(
        self, plan: Plan, branch: Branch, row: tuple[Action, ...], measured: frozenset[int], step: int, compiled: bool
    ) -> None:
        """Write one call's decision.

        Args:
            plan (`Plan`): The plan of the generation.
            branch (`Branch`): The call's memory.
            row (`tuple[Action, ...]`): What each site does.
            measured (`frozenset[int]`): The attention sites that are measured.
            step (`int`): Index of the step.
            compiled (`bool`): Whether the blocks are compiled.
        """
        frozen = (plan, row, measured, branch, compiled)
        if not branch.groups and frozen == self._frozen:
            return
        self._frozen = frozen
        for i, (handle, action) in enumerate(zip(self.handles, row, strict=True)):
            # Partial only once some tokens are chosen: a share that rounds down to none computes nothing.
            handle.action = "reuse" if action.kind == "partial" else action.kind
            handle.keep, handle.state, handle.dense = plan.kept[i], branch.sites[i], compiled
            handle.narrow = self.readers[i] is not None and all(row[j].kind != "compute" for j in self.readers[i])
            handle.index = handle.choose = handle.measure = None
            if i in measured:
                handle.measure = plan.selection.score_for(plan.modules_of(self.layout.sites[i].layer)).measure
        for group in branch.groups:
            self._freeze_tokens(group, row, measured, step, compiled)

    def _freeze_tokens(
        self, group: TokenGroup, row: tuple[Action, ...], measured: frozenset[int], step: int, compiled: bool
    ) -> None:
        if all(row[i].kind == "compute" for i in group.sites):
            group.forget()
        elif group.reads_this_step(measured):
            for position, i in enumerate(group.sites):
                self._freeze_late_choice(group, position, self.handles[i], row, compiled)
        else:
            for i, index in zip(group.sites, group.choose(row, step), strict=True):
                self._freeze_index(self.handles[i], index, compiled)

    @staticmethod
    def _freeze_late_choice(group: TokenGroup, position: int, handle: Handle, row: tuple, compiled: bool) -> None:
        handle.choose = group.choose_late(position, row)
        if handle.choose is not None:
            handle.action = "partial"
            if compiled:
                torch._dynamo.maybe_mark_dynamic(handle.choose.slots, 0)

    @staticmethod
    def _freeze_index(handle: Handle, index: torch.Tensor | None, compiled: bool) -> None:
        if index is not None:
            handle.action, handle.index = "partial", _dynamic(index) if compiled else index


def _dynamic(index: torch.Tensor) -> torch.Tensor:
    """An index (rows, k) for compiled blocks: one graph for every k. A lone token is computed twice, for a size of 1
    would be compiled in."""
    index = index.repeat(1, 2) if index.shape[1] == 1 else index
    torch._dynamo.maybe_mark_dynamic(index, 1)
    return index
