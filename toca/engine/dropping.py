"""Tokens that are dropped before the first block: one choice for the whole stack (RAS)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from ..hooks.block import BlockHandle, Streams
from ..hooks.handle import Handle
from ..kernels.rows import put_rows, take_rows
from ..models import BlockSpec, CallShape, FamilySpec, Layout
from ..models.dialect import Present, over_batch
from ..models.prediction import Prediction
from ..models.streams import parts_of
from ..plan.table import PlanTable
from .job import Job


class Dropping:
    """Drops the tokens that are not active before the first block, and puts the others into their places after the
    last one. In between everything runs on what is there, and attention remembers the keys and values of the rest.

    Args:
        layout (`Layout`): The sites.
        spec (`FamilySpec`): The streams of the blocks, and where each token is in the prediction.
    """

    def __init__(self, layout: Layout, spec: FamilySpec):
        self.layout, self._prediction = layout, spec.prediction
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

    def freeze(self, plan: PlanTable, job: Job, handles: Sequence[Handle], blocks: Sequence[BlockHandle]) -> None:
        """Choose, and have the tokens dropped and put back."""
        shape, group = job.part.key.shape, job.part.groups[0]
        prediction = self.prediction.by_token(self._kept(plan, job), shape)
        # Where the model predicts a variance beside, its channels come last.
        channels = min(self.layout.in_width, self.layout.out_width) // prediction.shape[3]
        count = shape.image_tokens - self._dropped(plan, job)
        job.active = index = group.choose_active(prediction[:, :, :channels], count)
        places = index % shape.image_tokens
        streams = {self.first.parts, self.last.parts, *(site.parts for site in self.layout.sites)}
        present = {parts: present_tokens(parts, places, shape) for parts in streams}
        first, last = present[self.first.parts], present[self.last.parts]
        assert first is not None and last is not None, "the main streams have the image"
        blocks[0].entering.append(_on_stream(self.first, lambda stream: take_rows(stream, first.over_batch)))
        blocks[-1].leaving.append(_on_stream(self.last, lambda stream: _put_back(stream, last)))
        for site, handle in zip(self.layout.sites, handles, strict=True):
            if site.attends is not None:
                handle.present = present[site.parts]

    def _kept(self, plan: PlanTable, job: Job) -> torch.Tensor:
        """The model's output for all tokens, which dropped ones keep."""
        return job.part.spans[plan.selection_spans[0]].value

    def _dropped(self, plan: PlanTable, job: Job) -> int:
        """How many image tokens of a sample are dropped."""
        shape, row = job.part.key.shape, job.run.row
        i = next(i for i, action in enumerate(row) if action.picks_tokens)
        return self.layout.sites[i].geometry(shape)[1] - plan.fresh_tokens(i, row, shape)

    def joined(self, plan: PlanTable, job: Job, sample: torch.Tensor) -> torch.Tensor:
        """The model's output: new where tokens were active, the last one elsewhere."""
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


def _main_stream(stack: BlockSpec) -> MainStream:
    return MainStream(stack.image, parts_of(stack.tokens[stack.image]))


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
