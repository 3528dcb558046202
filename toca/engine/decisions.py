"""Freezing a pass: what every site and block does is written into its handle before block 0 runs."""

from __future__ import annotations

import weakref
from typing import Any

import torch

from ..axes.actions import COMPUTE
from ..axes.forecast import Handle, Terms
from ..hooks.block import BlockHandle
from ..memory.branch import Branch
from ..memory.scored_tokens import Group, TokenGroup
from ..models import FamilySpec, Layout
from ..plan import Plan
from ..plan.passes import MODULATED, Job, Pass
from .dropping import Narrowing
from .span_ends import SpanEnds
from .unplaced import NotReached


class Freezer:
    """The handles of a transformer's sites and blocks, and how a decision gets into them.

    Args:
        layout (`Layout`): The sites.
        spec (`FamilySpec`): Where they are.

    Attributes:
        handles (`list[Handle]`): One for each site.
        blocks (`list[BlockHandle]`): One for each layer.
        readers (`list[tuple[int, ...] | None]`): For each site, `None` if no norm feeds it alone, else the sites
            inside it that its norm feeds too.
        whole_norms (`bool`): Whether norms make all tokens, for the running call modulates each in its own way.
    """

    def __init__(self, layout: Layout, spec: FamilySpec):
        self.layout, self.channel_dim = layout, spec.channel_dim
        self.handles = [Handle(joint=site.stream == "joint" and site.inside is None) for site in layout.sites]
        self.blocks = [BlockHandle() for _ in range(layout.sites[-1].layer + 1)]
        self.ends = SpanEnds(layout, spec)
        self.narrowing = Narrowing(layout, spec)
        self.readers = self._readers_of_norms(spec)
        self.whole_norms = False
        self._frozen: tuple | None = None
        self._held: list[tuple[Terms, weakref.ref | None]] = []

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
        self._frozen, self._held = None, []
        for handle in self.handles:
            handle.bypass()
            handle.state = None
        for block in self.blocks:
            block.bypass()

    def freeze(self, plan: Plan, job: Job, step: int, compiled: bool) -> None:
        """Write one pass's decision.

        Args:
            plan (`Plan`): The plan of the generation.
            job (`Job`): The pass and its memory.
            step (`int`): Index of the step.
            compiled (`bool`): Whether the blocks are compiled.
        """
        run, branch = job.run, job.part
        self._held = self._to_be_renewed(plan, run, branch)
        for block in self.blocks:
            block.calls = 0
        frozen = (plan, run, branch, compiled, self.whole_norms)
        if not branch.groups and plan.fill is None and not plan.wraps_blocks and frozen == self._frozen:
            return
        self._frozen = frozen
        for i in range(len(self.handles)):
            self._freeze_site(plan, run, branch, i, compiled)
            if plan.fill is not None:
                self._freeze_terms(plan, run, branch, i, step, compiled)
        if not run.narrows:
            for group in branch.groups:
                self._freeze_tokens(group, run, step, compiled)
        if plan.wraps_blocks:
            self._freeze_blocks(plan, job, step, compiled)
        if run.narrows:
            self.narrowing.freeze(plan, job, self.handles, self.blocks)

    def _freeze_site(self, plan: Plan, run: Pass, branch: Branch, i: int, compiled: bool) -> None:
        handle, action = self.handles[i], run.row[i]
        # Partial only once some tokens are chosen: a share that rounds down to none computes nothing.
        filled = "forecast" if action.forecasts else "reuse"
        handle.action = filled if action.kind == "partial" else action.kind
        if run.narrows:
            # A site sees no other tokens than those that are there.
            handle.action = "compute"
        handle.keep, handle.state, handle.dense = plan.kept[i] and run.keeps, branch.sites[i], compiled
        inner = None if self.whole_norms else self.readers[i]
        handle.narrow = inner is not None and all(run.row[j].kind != "compute" for j in inner)
        handle.index = handle.choose = handle.spread = handle.measure = handle.seen = None
        handle.refresh = run.refreshes and self.layout.sites[i].attends == "self"
        handle.watch = run.probes_input and i == 0
        if handle.action == "skip":
            handle.narrow = False
        if i in run.measured:
            handle.measure = plan.selection.score_for(plan.modules_of(self.layout.sites[i].layer)).measure

    def _freeze_terms(self, plan: Plan, run: Pass, branch: Branch, i: int, step: int, compiled: bool) -> None:
        handle, terms = self.handles[i], branch.sites[i].terms
        handle.scales, handle.weights = [], []
        if i not in plan.forecast_sites:
            return
        if run.row[i] == COMPUTE and handle.keep:
            handle.scales = _numbers(renewal(plan, terms, step), compiled)
        elif run.row[i].forecasts:
            handle.weights = _numbers(plan.fill.weights(step, terms.history, plan.num_inference_steps), compiled)

    def _freeze_blocks(self, plan: Plan, job: Job, step: int, compiled: bool) -> None:
        run, branch = job.run, job.part
        for layer, block in enumerate(self.blocks):
            block.bypass()
            block.run = layer not in run.left_out
        if run.resumes:
            self.blocks[run.resumes - 1].leaving.append(lambda _: job.streams)
        for boundary in run.watches:
            self._watch(boundary, job.notes)
        for span in run.stores:
            if span.around == "blocks":
                terms = branch.spans[span]
                scales = renewal(plan, terms, step) if plan.kept_spans[span] else []
                self.ends.store(self.blocks, span, terms, _numbers(scales, compiled), branch.key.shape)
        for span in run.spans:
            if span.around == "blocks":
                terms = branch.spans[span.stored]
                weights = _numbers(span_weights(plan, job, span, terms, step), compiled)
                self.ends.fill(self.blocks, span, terms, weights, branch.key.shape)

    def _to_be_renewed(self, plan: Plan, run: Pass, branch: Branch) -> list[tuple[Terms, weakref.ref | None]]:
        """What the pass is to renew, with what it holds now."""
        if not run.keeps:
            return []
        return [
            (branch.sites[i].terms, branch.sites[i].terms.mark())
            for i, action in enumerate(run.row)
            if action == COMPUTE and plan.kept[i] and not plan.is_hidden(run.row, i)
        ]

    def check_reached(self, plan: Plan, job: Job) -> None:
        """See to it that a pass that has run came by every block once, and by every site that it was to renew.

        Raises:
            NotReached: If it did not: the model ran other layers than the plan knows.
        """
        called = not plan.wraps_blocks or all(block.calls == 1 for block in self.blocks)
        held, self._held = self._held, []
        renewed = all(terms.value is not None and not terms.holds(mark) for terms, mark in held)
        noted = not job.run.probes_input or MODULATED in job.notes
        if not (called and renewed and noted):
            raise NotReached

    def note_input(self, job: Job) -> None:
        """Note what the first attention was given, where the pass asks for it."""
        if job.run.probes_input and self.handles[0].seen is not None:
            job.notes[MODULATED] = (self.handles[0].seen,)
            self.handles[0].seen = None

    def finish(self, plan: Plan, job: Job, step: int, latents: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
        """What is kept of the model's own output, and what takes its place.

        Args:
            plan (`Plan`): The plan.
            job (`Job`): The pass that has run.
            step (`int`): Index of the step.
            latents, sample (`torch.Tensor`): The model's input and output for the job's rows.
        """
        spans = job.part.spans
        if job.run.narrows:
            sample = self.narrowing.joined(plan, job, sample)
        for span in job.run.stores:
            if span.around == "model":
                scales = renewal(plan, spans[span], step) if plan.kept_spans[span] else []
                # A copy: the pipeline may go on writing in what it is given.
                value = _shifted(sample, latents, -1, self.channel_dim) if span.keeps == "residual" else sample.clone()
                spans[span].renew(value, scales)
        for span in job.run.spans:
            if span.around == "model":
                terms = spans[span.stored]
                filled = terms.total(span_weights(plan, job, span, terms, step))
                sample = _shifted(filled, latents, 1, self.channel_dim) if span.keeps == "residual" else filled.clone()
        return sample

    def _watch(self, boundary: int, notes: dict[int, tuple]) -> None:
        def note(streams: tuple) -> tuple:
            notes[boundary] = streams
            return streams

        if boundary == 0:
            self.blocks[0].entering.append(note)
        else:
            self.blocks[boundary - 1].leaving.append(note)

    def _freeze_tokens(self, group: Group, run: Pass, step: int, compiled: bool) -> None:
        kinds = {run.row[i].kind for i in group.sites}
        if kinds == {"compute"}:
            group.forget()
        elif kinds == {"skip"}:
            # Staleness counts steps in which the token could have been recomputed.
            return
        elif group.reads_this_step(run.measured):
            for position, i in enumerate(group.sites):
                self._freeze_late_choice(group, position, self.handles[i], run.row, compiled)
        else:
            for i, index in zip(group.sites, group.choose(run.row, step), strict=True):
                self._freeze_index(self.handles[i], index, compiled)
                self.handles[i].spread = group.spread

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


def renewal(plan: Plan, terms: Terms, step: int) -> list[float]:
    """Scales with which a value computed in this step enters the terms; the step is noted in their history."""
    terms.history = (step, *terms.history)[: plan.fill.fill_order + 1]
    return plan.fill.scales(terms.history)


def span_weights(plan: Plan, job: Job, span: Any, terms: Terms, step: int) -> list:
    """Weights of what fills a span: the gate's where it has any, else the fill's; none where it is reused."""
    if not span.forecasts:
        return []
    # A gate that is no fill of the plan's may still have weights of its own, for another fill.
    weights = plan.gate.weights_of(job.seen) if plan.fill == plan.gate else None
    if weights is None:
        return plan.fill.weights(step, terms.history, plan.num_inference_steps)
    return [job.part.by_row(weight) for weight in weights]


def _numbers(numbers: list, compiled: bool) -> list:
    """Numbers of a forecast; for compiled blocks tensors, for a number would be compiled in."""
    return [torch.as_tensor(number) for number in numbers] if compiled else numbers


def _shifted(sample: torch.Tensor, latents: torch.Tensor, sign: int, dim: int) -> torch.Tensor:
    """`sample + sign * latents` over the channels, in dimension `dim`, that both have. Where the model returns more
    than it is given (a learned variance) the others stay as they are; where it is given more than it returns (the
    picture to fill, a control) they do not count."""
    if sample.shape == latents.shape:
        return sample + sign * latents
    common = min(sample.shape[dim], latents.shape[dim])
    shifted = sample.narrow(dim, 0, common) + sign * latents.narrow(dim, 0, common)
    return torch.cat([shifted, sample.narrow(dim, common, sample.shape[dim] - common)], dim=dim)


def _dynamic(index: torch.Tensor) -> torch.Tensor:
    """An index (rows, k) for compiled blocks: one graph for every k. A lone token is computed twice, for a size of 1
    would be compiled in."""
    index = index.repeat(1, 2) if index.shape[1] == 1 else index
    torch._dynamo.maybe_mark_dynamic(index, 1)
    return index
