"""Tokens that are dropped before the first block: one choice for the whole stack (RAS)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from ..axes.forecast import Handle
from ..hooks.block import BlockHandle, Streams
from ..kernels.rows import put_rows, take_rows
from ..memory.scored_tokens import Group
from ..models import CallShape, FamilySpec, Layout

if TYPE_CHECKING:
    from ..memory.branch import CallKey
    from ..plan import Plan
    from ..plan.passes import Job


class ActiveTokens(Group):
    """The image tokens that go through the blocks; text always does.

    Args:
        plan (`Plan`): The plan.
        key (`CallKey`): Shape and device.
        paired (`bool`): Whether the batch's halves are guidance branches, which share one choice: it is made by the
            mean of their two predictions.

    Attributes:
        drops (`torch.Tensor`): (rows that choose, tokens), float32: how often each token has been dropped.
    """

    def __init__(self, plan: Plan, key: CallKey, paired: bool):
        self.sites, self.selection, self.paired = sorted(plan.partial_sites), plan.selection, paired
        rows = key.shape.batch // 2 if paired else key.shape.batch
        self.drops = torch.zeros(rows, key.shape.tokens, device=key.device)

    def tensors(self) -> list[torch.Tensor]:
        return [self.drops]

    def take_counts(self, other: ActiveTokens, images: torch.Tensor, of: int) -> None:
        self.drops.copy_(other.drops.unflatten(0, (-1, of)).index_select(1, images).flatten(0, 1))

    def choose(self, prediction: torch.Tensor, count: int) -> torch.Tensor:
        """Index (rows, count) over the batch of the active tokens; the others are dropped once more.

        Args:
            prediction (`torch.Tensor`): (rows, tokens, channels, pixels): what the model returned last.
            count (`int`): How many tokens are active.
        """
        if self.paired:
            prediction = prediction.float().unflatten(0, (2, -1)).mean(dim=0)
        chosen = self.selection.starved_score(prediction, self.drops).topk(count, dim=1).indices
        self.drops.add_(1).scatter_add_(1, chosen, self.drops.new_full(chosen.shape, -1))
        chosen = chosen.repeat(2, 1) if self.paired else chosen
        return chosen + torch.arange(len(chosen), device=chosen.device)[:, None] * self.drops.shape[1]


class Narrowing:
    """Drops the tokens that are not active before the first block, and puts the others into their places after the
    last one. In between everything runs on what is there, and attention remembers the keys and values of the rest.

    Args:
        layout (`Layout`): The sites.
        spec (`FamilySpec`): The streams of the blocks, and where each token is in the prediction.
    """

    def __init__(self, layout: Layout, spec: FamilySpec):
        self.layout, self.prediction = layout, spec.prediction
        streams = {stack.stack: stack.streams.index("hidden_states") for stack in spec.stacks}
        self.first, self.last = streams[layout.sites[0].stack], streams[layout.sites[-1].stack]

    def freeze(self, plan: Plan, job: Job, handles: list[Handle], blocks: list[BlockHandle]) -> None:
        """Choose, and have the tokens dropped and put back."""
        shape, group = job.part.key.shape, job.part.groups[0]
        prediction = self.prediction.by_token(job.part.spans[plan.output_span].value, shape)
        # Where the model predicts a variance beside, its channels come last.
        channels = min(self.layout.in_width, self.layout.out_width) // prediction.shape[3]
        job.active = index = group.choose(prediction[:, :, :channels], plan.active_tokens(job.run.row, shape))
        blocks[0].entering.append(_on_stream(self.first, lambda stream: take_rows(stream, index)))
        blocks[-1].leaving.append(_on_stream(self.last, lambda stream: _put_back(stream, index, shape.tokens)))
        present = _present(index, shape)
        for site, handle in zip(self.layout.sites, handles, strict=True):
            if handle.refresh:
                handle.index = present[site.stream]

    def joined(self, plan: Plan, job: Job, sample: torch.Tensor) -> torch.Tensor:
        """The model's output: new where tokens were active, the last one elsewhere."""
        shape = job.part.key.shape
        active = torch.zeros(shape.batch * shape.tokens, dtype=torch.bool, device=sample.device)
        active.index_fill_(0, job.active.flatten(), True)
        places = self.prediction.over(active.view(shape.batch, shape.tokens), shape, sample)
        return torch.where(places, sample, job.part.spans[plan.output_span].value)


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
