"""The decisions of a pass: what every site and block does is written into its handle before block 0 runs."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from ..axes.actions import COMPUTING, Action
from ..axes.selections import Group
from ..hooks.block import BlockHandle, Streams
from ..hooks.handle import Handle
from ..hooks.turns import Turns
from ..memory.part import Part
from ..memory.ram import Ram
from ..memory.terms import Terms
from ..models import FamilySpec, Layout
from ..models.dialect import Row
from ..plan.passes import ENTERED, MODULATED, VERIFIED, Pass
from ..plan.table import PlanTable
from .block_span import BlockSpan, by_itself
from .dropping import Dropping
from .fetching import Fetching
from .forecasts import Forecasts, as_weights, gate_weights, numbers, span_scales, span_weights
from .job import Job
from .model_span import ModelSpan
from .stages import Stages
from .unplaced import NotReached


class Decisions:
    """The handles of a transformer's sites and blocks, and how a decision gets into them.

    Args:
        layout (`Layout`): The sites.
        spec (`FamilySpec`): Where they are.
        ram (`Ram`, *optional*): Where what is kept lies; on the device that computes by default.

    Attributes:
        handles (`list[Handle]`): One for each site.
        blocks (`list[BlockHandle]`): One for each layer.
        readers (`list[tuple[int, ...] | None]`): For each site, `None` if no norm feeds it alone, else the sites
            inside it that its norm feeds too.
        turns (`dict[int, Turns]`): Of modules that a block calls several times, by the first call's site.
        wraps_all (`bool`): Whether blocks are reached that the plan need not reach: a script may leave out any.
        stages (`Stages` or `None`): The processes that share the blocks.
        fetching (`Fetching` or `None`): Brings and takes away what is kept elsewhere than on the device.
        connected (`Sequence[int]`): The sites whose handles modules ask, in order; no others are written.
        whole_norms (`bool`): Whether norms make all tokens, for the running call modulates each in its own way.
    """

    def __init__(self, layout: Layout, spec: FamilySpec, ram: Ram | None = None):
        self.layout = layout
        self.fetching = None if ram is None else Fetching(ram)
        stacks = {stack.stack: stack for stack in spec.stacks}
        self.handles = [
            Handle(
                # Joint attention of blocks with a stream for the text gives each its own back.
                joint=len(site.parts) > 1 and site.inside is None and len(stacks[site.stack].streams) > 1,
                tokens_first=stacks[site.stack].tokens_first and site.attends is None,
            )
            for site in layout.sites
        ]
        self.turns: dict[int, Turns] = {}
        self.blocks = [BlockHandle() for _ in range(layout.sites[-1].layer + 1)]
        self.block_span, self.model_span = BlockSpan(layout, spec), ModelSpan(spec)
        self.stages: Stages | None = None
        self.dropping = Dropping(layout, spec, self.block_span)
        self.readers = self._readers_of_norms(spec)
        self.whole_norms = False
        # Things are brought to a block, and taken away from it, whatever the plan does there.
        self.wraps_all = ram is not None
        self.connected: Sequence[int] = range(len(layout.sites))
        self._sites_decided = self._blocks_decided = False
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

    def wraps(self, plan: PlanTable) -> bool:
        """Whether whole blocks are reached under a plan, and not only the modules in them."""
        return self.wraps_all or plan.wraps_blocks

    def bypass(self) -> None:
        """Every site computes and remembers nothing."""
        self._held = []
        for i in self.connected if self._sites_decided else ():
            self.handles[i].bypass()
            self.handles[i].state = None
        for block in self.blocks if self._blocks_decided else ():
            block.bypass()
        self._sites_decided = self._blocks_decided = False

    def freeze(self, plan: PlanTable, job: Job, step: int, compiled: bool, after: int | None = None) -> None:
        """Write one pass's decision.

        Args:
            plan (`PlanTable`): The plan of the generation.
            job (`Job`): The pass and its memory.
            step (`int`): Index of the step.
            compiled (`bool`): Whether the blocks are compiled.
            after (`int`, *optional*): The first layers, which have run already where a gate decides in the pass.
        """
        run, part, first = job.run, job.part, after or 0
        if self.stages is not None:
            run = self.stages.share(plan, run)
        if after is None:
            self._begin()
        self._held += self._to_be_renewed(plan, run, part)
        # Handles of the call before compute and remember nothing, which is all that some full steps ask of them.
        if self._sites_decided or compiled or not run.leaves_sites_alone(plan):
            self._freeze_sites(plan, job, run, step, compiled, first)
        if not (run.drops or job.undecided):
            for group in part.groups:
                self._freeze_tokens(group, run, step, compiled)
        if self.wraps(plan):
            self._freeze_blocks(plan, job, run, step, compiled, first)
        if run.drops:
            self.dropping.freeze(plan, job, self._weights_of_dropped(plan, job, step), self.handles, self.blocks)
        self._freeze_moves(plan, run, part)

    def _freeze_sites(self, plan: PlanTable, job: Job, run: Pass, step: int, compiled: bool, first: int) -> None:
        self._sites_decided = True
        forecasts = None if plan.fill is None else Forecasts(plan, plan.fill, step, gate_weights(plan, job), compiled)
        for i in self.connected:
            if self.layout.sites[i].layer < first:
                continue
            self._freeze_site(plan, run, job.part, i, compiled)
            if forecasts is not None and i in plan.forecast_sites:
                self._freeze_terms(forecasts, run, job.part, i)

    def _freeze_moves(self, plan: PlanTable, run: Pass, part: Part) -> None:
        """The last of all, so that what is read at a block's end is there before anybody reads it."""
        if self.fetching is not None:
            self.fetching.freeze(plan, run, part, self.blocks)

    def _begin(self) -> None:
        """A pass begins."""
        self._held = []
        for block in self.blocks:
            block.calls = 0
        for turns in self.turns.values():
            turns.turn = 0

    def _freeze_site(self, plan: PlanTable, run: Pass, part: Part, i: int, compiled: bool) -> None:
        handle, action = self.handles[i], run.row[i]
        # Partial only once some tokens are chosen: a share that rounds down to none computes nothing.
        filled = "forecast" if action.forecasts else "reuse"
        handle.action = filled if action.kind == "partial" else action.kind
        if run.drops or action.kind in COMPUTING:
            # Of dropped tokens a site sees no other than those that are there.
            handle.action = "compute"
        handle.keep = i in run.renews
        handle.state, handle.dense = part.sites[i], compiled
        inner = None if self.whole_norms else self.readers[i]
        handle.lean_norm = inner is not None and all(run.row[j].kind in ("reuse", "forecast", "skip") for j in inner)
        handle.index = handle.present = handle.choose = handle.spread = handle.measure = handle.noted = None
        handle.refresh = run.refreshes and i in plan.attended_sites
        handle.row = self._row_of(part, i) if action.kind == "partial" and i in plan.attended_sites else None
        if handle.row is not None and handle.row.tokens > handle.row.image_tokens:
            # Its norms make other tokens too.
            handle.lean_norm = False
        handle.note_input = run.probes_input and i == 0
        handle.scales, handle.weights = [], []
        if handle.action == "skip":
            handle.lean_norm = False
        if i in run.measured and plan.selection is not None:
            handle.measure = plan.selection.measure((self.layout.sites[i].module,))

    def _row_of(self, part: Part, i: int) -> Row:
        """The row of an attention of which some tokens are computed."""
        site, shape = self.layout.sites[i], part.key.shape
        chosen = site.chosen_of(shape)
        return Row(site.geometry(shape)[1], chosen.start, chosen.stop - chosen.start)

    def _freeze_terms(self, forecasts: Forecasts, run: Pass, part: Part, i: int) -> None:
        handle, terms, action = self.handles[i], part.sites[i].terms, run.row[i]
        handle.fill_by(forecasts.fill, part.sizes)
        if action.kind in COMPUTING and handle.keep:
            terms.note_step(forecasts.step, forecasts.fill)
            handle.scales = forecasts.scales(terms.history)
        elif action.forecasts:
            handle.weights = forecasts.weights(self.layout.sites[i], terms.history)

    def _freeze_blocks(self, plan: PlanTable, job: Job, run: Pass, step: int, compiled: bool, first: int) -> None:
        part = job.part
        self._blocks_decided = True
        spans = [span for span in run.spans if span.around == "blocks"]
        # What fills goes on from the steps before: a late span stores in this one.
        weights = [span_weights(plan, job, span, part.spans[span.stored], step) for span in spans]
        for layer, block in enumerate(self.blocks):
            block.decide(layer < first or layer not in run.left_out)
        for layer, streams in job.streams.items():
            self.blocks[layer].leaving.append(partial(_put, streams))
        if run.verifies:
            self.blocks[-1].again = lambda run_again: self._verify(job, run_again)
        for boundary in run.watches:
            self._watch(boundary, job.notes)
        if run.layer is not None:
            self.blocks[run.layer].entering.append(partial(_noted, job.notes))
        for span in run.stores:
            if span.around == "blocks":
                terms = part.spans[span]
                scales = numbers(span_scales(plan, span, terms, step), compiled)
                self.block_span.store(self.blocks, span, terms, scales, plan.fill, part.key.shape)
        for span, each in zip(spans, weights, strict=True):
            terms = part.spans[span.stored]
            self.block_span.fill(self.blocks, span, terms, as_weights(each, compiled), plan.fill, part.sizes)

    @staticmethod
    def _weights_of_dropped(plan: PlanTable, job: Job, step: int) -> list[Any]:
        """Weights of what fills the places of dropped tokens; none where it is reused."""
        span = plan.selection_spans[0]
        return span_weights(plan, job, span, job.part.spans[span.stored], step)

    def _to_be_renewed(self, plan: PlanTable, run: Pass, part: Part) -> list[tuple[Terms, weakref.ref | None]]:
        """What the pass is to renew, with what it holds now."""
        return [
            (part.sites[i].terms, part.sites[i].terms.mark())
            for i in run.renews
            if run.row[i].kind in COMPUTING and not plan.is_hidden(run.row, i)
        ]

    def _verify(self, job: Job, run_again: Callable[[], Streams]) -> None:
        """Run the last block once more, computing, and note what leaves it."""
        for site, handle in zip(self.layout.sites, self.handles, strict=True):
            if site.layer == self.layout.layers - 1:
                handle.bypass()
        job.notes[VERIFIED] = run_again()

    def check_reached(self, plan: PlanTable, job: Job) -> None:
        """See to it that a pass that has run came by every block once, and by every site that it was to renew.

        Raises:
            NotReached: If it did not: the model ran other layers than the plan knows.
        """
        called = not self.wraps(plan) or all(block.calls == 1 for block in self.blocks)
        held, self._held = self._held, []
        renewed = all(not terms.holds(mark) and (mark or terms.mark()) is not None for terms, mark in held)
        noted = not job.run.probes_input or MODULATED in job.notes
        if not (called and renewed and noted):
            raise NotReached

    def note_input(self, job: Job) -> None:
        """Note the image tokens that the first attention was given, where the pass asks for it."""
        handle, site, shape = self.handles[0], self.layout.sites[0], job.part.key.shape
        if job.run.probes_input and handle.noted is not None:
            noted, handle.noted = handle.turned(handle.noted), None
            stack = self.block_span.stacks[site.layer]
            # A view of the image tokens would hold the text tokens too.
            noted = by_itself(stack.image_given(noted, site.stream, shape))
            if self.block_span.ranks is not None:
                noted = self.block_span.ranks.whole(noted, shape.image_tokens)
            job.notes[MODULATED] = (noted,)

    def finish(
        self, plan: PlanTable, job: Job, step: int, latents: torch.Tensor, sample: torch.Tensor | None
    ) -> torch.Tensor:
        """What is kept of the model's own output, and what takes its place.

        Args:
            plan (`PlanTable`): The plan.
            job (`Job`): The pass that has run.
            step (`int`): Index of the step.
            latents (`torch.Tensor`): The model's input for the job's rows.
            sample (`torch.Tensor` or `None`): Its output; `None` where it has not run.
        """
        if self.fetching is not None:
            self.fetching.behind_the_blocks()
        if self.stages is not None and sample is not None:
            sample = self.stages.exchanged(plan, job, step, sample)
        if job.run.drops and sample is not None:
            sample = self.dropping.joined(plan, job, sample)
        for span in job.run.stores:
            if span.around == "model" and sample is not None:
                terms = job.part.spans[span]
                scales = span_scales(plan, span, terms, step)
                self.model_span.store(plan, span, terms, scales, latents, sample, job.part.key.whole)
        for span in job.run.spans:
            if span.around == "model":
                terms = job.part.spans[span.stored]
                weights = span_weights(plan, job, span, terms, step)
                sizes = job.part.sizes_around
                sample = self.model_span.fill(plan, span, terms, weights, step, latents, sizes)
        if self.fetching is not None:
            self.fetching.close(job.part)
        assert sample is not None, "what has not run is filled"
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
    def _freeze_late_choice(
        group: Group, position: int, handle: Handle, row: tuple[Action, ...], compiled: bool
    ) -> None:
        handle.choose = group.choose_late(position, row)
        if handle.choose is not None:
            handle.action = "partial"
            if compiled:
                torch._dynamo.maybe_mark_dynamic(handle.choose.slots, 0)  # type: ignore[attr-defined]

    @staticmethod
    def _freeze_index(handle: Handle, index: torch.Tensor | None, compiled: bool) -> None:
        if index is not None:
            handle.action, handle.index = "partial", _dynamic(index) if compiled else index


def _noted(notes: dict[int, tuple], streams: Streams) -> Streams:
    notes[ENTERED] = streams
    return streams


def _put(streams: Streams, _: Streams) -> Streams:
    """What is put in the place of what leaves a block."""
    return streams


def _dynamic(index: torch.Tensor) -> torch.Tensor:
    """An index (rows, k) for compiled blocks: one graph for every k. A lone token is computed twice, for a size of 1
    would be compiled in."""
    # A copy, not a view of what other sites have too: graphs are guarded on the memory layout.
    index = index.repeat(1, 2) if index.shape[1] == 1 else torch.clone(index, memory_format=torch.contiguous_format)
    torch._dynamo.maybe_mark_dynamic(index, 1)
    return index
