"""Tokens that are dropped before the first block: one choice for the whole stack (RAS)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from ..axes.fills.renewal import last_change
from ..axes.spans import Span
from ..hooks.block import BlockHandle, Streams
from ..hooks.handle import Handle
from ..kernels.rows import put_rows, take_rows
from ..memory.terms import Terms
from ..models import BlockSpec, CallShape, FamilySpec, Layout
from ..models.dialect import Present, over_batch
from ..models.prediction import Prediction
from ..models.streams import parts_of, place_of
from ..plan.table import PlanTable
from .block_span import BlockSpan
from .job import Job


class Dropping:
    """Drops the tokens that are not active before the first block, and puts the others into their places after the
    last one. In between everything runs on what is there, and attention remembers the keys and values of the rest.

    Args:
        layout (`Layout`): The sites.
        spec (`FamilySpec`): The streams of the blocks, and where each token is in the prediction.
        block_span (`BlockSpan`): What all blocks together make of their streams.
    """

    def __init__(self, layout: Layout, spec: FamilySpec, block_span: BlockSpan):
        self.layout, self._prediction, self._block_span = layout, spec.prediction, block_span
        stacks = {stack.stack: stack for stack in spec.stacks}
        self.first, self.last = (_main_stream(stacks[layout.sites[i].stack]) for i in (0, -1))

    @property
    def prediction(self) -> Prediction:
        """Where each token is in the output."""
        if self._prediction is None:
            raise ValueError(
                f"Tokens cannot be dropped from a {self.layout.family} model: nobody has said where each is in its "
                "output (`prediction` of its FamilySpec)."
            )
        return self._prediction

    def freeze(
        self,
        plan: PlanTable,
        job: Job,
        weights: list[Any],
        handles: Sequence[Handle],
        blocks: Sequence[BlockHandle],
    ) -> None:
        """Choose, and have the tokens dropped and put back.

        Args:
            plan (`PlanTable`): The plan of the generation.
            job (`Job`): The pass and its memory.
            weights (`list`): Of what fills the places of the dropped tokens.
            handles (`Sequence[Handle]`): One for each site.
            blocks (`Sequence[BlockHandle]`): One for each layer.
        """
        shape, group = job.part.key.shape, job.part.groups[0]
        count = shape.image_tokens - self._dropped(plan, job)
        job.active = index = group.choose_active(self._shown(plan, job), count)
        places = index % shape.image_tokens
        streams = {self.first.parts, self.last.parts, *(site.parts for site in self.layout.sites)}
        present = {parts: present_tokens(parts, places, shape) for parts in streams}
        first, last = present[self.first.parts], present[self.last.parts]
        assert first is not None and last is not None, "the main streams have the image"
        leave = _on_stream(self.last, lambda stream: _put_back(stream, last))
        if _span(plan).around == "blocks":
            leave = self._filling(plan, job, weights, last, blocks[0])
        blocks[0].entering.append(_on_stream(self.first, lambda stream: take_rows(stream, first.over_batch)))
        blocks[-1].leaving.append(leave)
        for site, handle in zip(self.layout.sites, handles, strict=True):
            if site.attends is not None:
                handle.present = present[site.parts]

    def _shown(self, plan: PlanTable, job: Job) -> torch.Tensor:
        """What the choice is made by, as `Group.choose_active` says."""
        shape = job.part.key.shape
        if _span(plan).around == "model":
            prediction = self.prediction.by_token(self._kept(plan, job), shape)
            # Where the model predicts a variance beside, its channels come last.
            return prediction[:, :, : min(self.layout.in_width, self.layout.out_width) // prediction.shape[3]]
        terms = _terms(plan, job)
        place = self._block_span.read_after.index(self.last.place)
        value, higher = terms.value[place], [term[place] for term in terms.higher]
        change = last_change(plan.fill.renewal, value, higher) if plan.fill is not None else None
        # Of one full step nobody knows how it has changed.
        change = value if change is None or len(terms.history) < 2 else change
        return change[:, place_of("image", self.last.stream, shape.counts(self.last.stream))]

    def _filling(
        self, plan: PlanTable, job: Job, weights: list[Any], present: Present, block: BlockHandle
    ) -> Callable[[Streams], Streams]:
        """What puts the tokens back among those that are forecast: what entered the first block, in all its tokens,
        and what the blocks would have added to it."""
        entered: list[Streams] = []

        def enter(streams: Streams) -> Streams:
            entered.append(streams)
            return streams

        def leave(left: Streams) -> Streams:
            if not entered:
                # The first block was not called; the engine sees it when the pass has ended.
                return left
            filled = self._block_span.filled(_span(plan), _terms(plan, job), weights, plan.fill, entered[0], shape)
            whole = dict(zip(self._block_span.read_after, filled, strict=True))[self.last.place]
            whole = torch.clone(whole, memory_format=torch.contiguous_format)
            put = put_rows(whole, present.over_batch, left[self.last.place])
            return tuple(put if place == self.last.place else stream for place, stream in enumerate(left))

        shape = job.part.key.shape
        block.entering.append(enter)
        return leave

    def _kept(self, plan: PlanTable, job: Job) -> torch.Tensor:
        """The model's output for all tokens, which dropped ones keep."""
        return _terms(plan, job).value

    def _dropped(self, plan: PlanTable, job: Job) -> int:
        """How many image tokens of a sample are dropped."""
        shape, row = job.part.key.shape, job.run.row
        i = next(i for i, action in enumerate(row) if action.picks_tokens)
        return self.layout.sites[i].geometry(shape)[1] - plan.fresh_tokens(i, row, shape)

    def joined(self, plan: PlanTable, job: Job, sample: torch.Tensor) -> torch.Tensor:
        """The model's output: new where tokens were active, the last one elsewhere; or as it is, where what entered
        the output layer had been filled."""
        if _span(plan).around == "blocks":
            return sample
        shape = job.part.key.shape
        assert job.active is not None, "tokens have been chosen"
        active = torch.zeros(shape.batch * shape.image_tokens, dtype=torch.bool, device=sample.device)
        active.index_fill_(0, job.active.flatten(), True)
        places = self.prediction.over(active.view(shape.batch, -1), shape, sample)
        return torch.where(places, sample, self._kept(plan, job))


class MainStream(NamedTuple):
    """The stream of a stack's blocks that has the image.

    Args:
        place (`int`): Its place among the streams.
        parts (`tuple[str, ...]`): What its rows are made of, in order.
    """

    place: int
    parts: tuple[str, ...]

    @property
    def stream(self) -> str:
        return "+".join(self.parts)


def _main_stream(stack: BlockSpec) -> MainStream:
    return MainStream(stack.image, parts_of(stack.tokens[stack.image]))


def _span(plan: PlanTable) -> Span:
    """What is kept to fill the places of dropped tokens."""
    return plan.selection_spans[0]


def _terms(plan: PlanTable, job: Job) -> Terms:
    return job.part.spans[_span(plan).stored]


def present_tokens(parts: tuple[str, ...], places: torch.Tensor, shape: CallShape) -> Present | None:
    """The tokens that are there, of rows made of these parts; `None` where the image has none of them.

    Args:
        parts (`tuple[str, ...]`): What a row is made of, in order.
        places (`torch.Tensor`): (B, k): places among the image's tokens of those that are there.
        shape (`CallShape`): Of the call.
    """
    if "image" not in parts:
        return None
    ranges, first, first_image = [], 0, 0
    for part in parts:
        tokens = shape.count(part)
        if part == "image":
            first_image = first
            ranges.append(places + first)
        else:
            ranges.append(torch.arange(first, first + tokens, device=places.device).expand(len(places), -1))
        first += tokens
    within = torch.cat(ranges, dim=1)
    return Present(within, first, first_image, shape.image_tokens, over_batch(within, first))


def _on_stream(stream: MainStream, function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Streams], Streams]:
    """`streams -> streams` with `function` applied to one of them."""
    return lambda streams: tuple(function(each) if i == stream.place else each for i, each in enumerate(streams))


def _put_back(stream: torch.Tensor, present: Present) -> torch.Tensor:
    """All tokens (B, tokens, C), zero where one was dropped: nobody reads what the output layer makes of it."""
    return put_rows(stream.new_zeros(stream.shape[0], present.tokens, stream.shape[2]), present.over_batch, stream)
