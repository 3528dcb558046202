"""Tokens that are dropped before the first block: one choice for the whole stack (RAS)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..hooks.block import BlockHandle, Streams
from ..hooks.handle import Handle
from ..kernels.rows import put_rows, take_rows
from ..models import CallShape, FamilySpec, Layout
from ..models.prediction import Prediction
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
        streams = {stack.stack: stack.streams.index("hidden_states") for stack in spec.stacks}
        self.first, self.last = streams[layout.sites[0].stack], streams[layout.sites[-1].stack]

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
        count = shape.tokens - self._dropped(plan, job)
        job.active = index = group.choose_active(prediction[:, :, :channels], count)
        blocks[0].entering.append(_on_stream(self.first, lambda stream: take_rows(stream, index)))
        blocks[-1].leaving.append(_on_stream(self.last, lambda stream: _put_back(stream, index, shape.tokens)))
        present = _present(index, shape)
        for site, handle in zip(self.layout.sites, handles, strict=True):
            if handle.refresh:
                handle.index = present[site.stream]

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
        active = torch.zeros(shape.batch * shape.tokens, dtype=torch.bool, device=sample.device)
        active.index_fill_(0, job.active.flatten(), True)
        places = self.prediction.over(active.view(shape.batch, shape.tokens), shape, sample)
        return torch.where(places, sample, self._kept(plan, job))


def _on_stream(place: int, function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Streams], Streams]:
    """`streams -> streams` with `function` applied to one of them."""
    return lambda streams: tuple(function(stream) if i == place else stream for i, stream in enumerate(streams))


def _put_back(stream: torch.Tensor, index: torch.Tensor, tokens: int) -> torch.Tensor:
    """All tokens (B, tokens, C), zero where one was dropped: nobody reads what the output layer makes of it."""
    return put_rows(stream.new_zeros(stream.shape[0], tokens, stream.shape[2]), index, stream)


def _present(index: torch.Tensor, shape: CallShape) -> dict[str, torch.Tensor]:
    """Index over the batch of the tokens that are there, for sites of the image and for those of text and image."""
    rows = torch.arange(shape.batch, device=index.device)[:, None]
    text = torch.arange(shape.text_tokens, device=index.device).expand(shape.batch, -1)
    image = index - rows * shape.tokens + shape.text_tokens
    joint = torch.cat([text, image], dim=1) + rows * (shape.text_tokens + shape.tokens)
    return {"image": index, "joint": joint}
