"""What is kept of a span of blocks, and what is put in its place, at the blocks' two ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..axes.fills import Fill, differences
from ..axes.spans import Span
from ..hooks.block import BlockHandle, Streams
from ..kernels.series import weighted_sum
from ..memory.terms import Terms
from ..models import CallShape, FamilySpec, Layout
from ..models.shape import laid_out
from ..models.streams import parts_of, regrouped
from .ranks import Ranks


class BlockSpan:
    """Watches and fills spans through the handles of their first and last blocks.

    A span's first and last block may lay out their rows differently (Latte's spatial and temporal blocks), may have
    more than one stream (text and image in FLUX), and may have them in one row or apart. After the last block of the
    model nobody reads the text that stands apart.

    Args:
        layout (`Layout`): The sites.
        spec (`FamilySpec`): The streams of the blocks.

    Attributes:
        ranks (`Ranks` or `None`): The processes that share the tokens; only those who look at an image whole ask them.
    """

    def __init__(self, layout: Layout, spec: FamilySpec):
        stacks = {stack.stack: stack for stack in spec.stacks}
        self.stacks = {site.layer: stacks[site.stack] for site in layout.sites}
        self.rows = {layer: stack.rows for layer, stack in self.stacks.items()}
        self.ranks: Ranks | None = None

    def image_of(self, streams: Streams, layer: int, shape: CallShape) -> torch.Tensor:
        """The image tokens (rows, tokens, C) in what a layer works on."""
        return self.stacks[layer].image_of(streams, shape)

    def image_like(self, streams: Streams, layer: int, like: int, shape: CallShape) -> torch.Tensor:
        """The same, of all processes, with its rows laid out as those of another layer; it may be kept."""
        return by_itself(laid_out(self._whole(streams, layer, shape), shape, self.rows[layer], self.rows[like]))

    def image_by_sample(self, streams: Streams, layer: int, shape: CallShape) -> torch.Tensor:
        """The same, of all processes, with a row a sample."""
        return laid_out(self._whole(streams, layer, shape), shape, self.rows[layer], "sample")

    def _whole(self, streams: Streams, layer: int, shape: CallShape) -> torch.Tensor:
        image = self.image_of(streams, layer, shape)
        return image if self.ranks is None else self.ranks.whole(image, shape.image_tokens)

    def store(
        self,
        blocks: list[BlockHandle],
        span: Span,
        terms: Terms,
        scales: list[Any],
        by: Fill | None,
        shape: CallShape,
    ) -> None:
        """Have the quantity of a span remembered when its blocks have run."""
        renewal = differences if by is None else by.renewal
        entered: dict[str, Streams] = {}

        def enter(streams: Streams) -> Streams:
            entered["streams"] = streams
            return streams

        def leave(streams: Streams) -> Streams:
            if span.keeps == "residual" and not entered:
                # The first block was not called; the engine sees it when the pass has ended.
                return streams
            kept = self._kept(span, streams)
            if span.keeps == "residual":
                before = self._before(span, entered["streams"], shape)
                kept = tuple(after if b is None else after - b for after, b in zip(kept, before, strict=True))
            # A view of the image tokens would hold the text tokens too.
            terms.renew(tuple(by_itself(stream.contiguous()) for stream in kept), scales, renewal)
            return streams

        if span.keeps == "residual":
            blocks[span.first].entering.append(enter)
        blocks[span.stop - 1].leaving.append(leave)

    def fill(
        self,
        blocks: list[BlockHandle],
        span: Span,
        terms: Terms,
        weights: list[Any],
        by: Fill | None,
        shape: CallShape,
    ) -> None:
        """Have the span's place taken. Its blocks do not run; or late, and renew what is kept, so that what fills is
        made before them."""
        filled: list[Streams] = []

        def enter(streams: Streams) -> Streams:
            filled.append(self.filled(span, terms, weights, by, streams, shape))
            return streams

        def leave(left: Streams) -> Streams:
            return self._put(span, left, filled.pop()) if filled else left

        blocks[span.first].entering.append(enter)
        blocks[span.stop - 1].leaving.append(leave)

    def filled(
        self,
        span: Span,
        terms: Terms,
        weights: list[Any],
        by: Fill | None,
        entered: Streams,
        shape: CallShape,
    ) -> Streams:
        """The streams that count after a span which `entered` enters, of what is kept of it."""
        filled = terms.total(weights, weighted_sum if by is None else by.combine_for(shape))
        if span.keeps != "residual":
            return filled
        before = self._before(span, entered, shape)
        return tuple(kept if b is None else b + kept for kept, b in zip(filled, before, strict=True))

    @property
    def read_after(self) -> Sequence[int]:
        """Places of the streams that are read after the last block."""
        return self.stacks[len(self.rows) - 1].read_after

    def _kept(self, span: Span, streams: Streams) -> Streams:
        """The streams that count: all of them, or after the last block those that are read."""
        return tuple(streams[place] for place in self._places(span, streams))

    def _put(self, span: Span, streams: Streams, kept: Streams) -> Streams:
        """The streams with those that count exchanged."""
        exchanged = dict(zip(self._places(span, streams), kept, strict=True))
        return tuple(exchanged.get(place, stream) for place, stream in enumerate(streams))

    def _places(self, span: Span, streams: Streams) -> Sequence[int]:
        last = span.stop == len(self.rows)
        return self.read_after if last else range(len(streams))

    def _before(self, span: Span, streams: Streams, shape: CallShape) -> tuple[torch.Tensor | None, ...]:
        """Of the streams that enter the span those that count, laid out as they leave it; `None` for what first enters
        within the span, of which the residual is all that leaves (text that has blocks of its own before)."""
        if self.ranks is not None:
            streams = self.ranks.own(streams, shape, self.stacks[span.first].tokens)
        have, want = self.rows[span.first], self.rows[span.stop - 1]
        laid: Streams = tuple(laid_out(stream, shape, have, want) for stream in streams)
        before, after = self.stacks[span.first].tokens, self.stacks[span.stop - 1].tokens
        if before != after:
            counts = {part: shape.count(part) for stream in before for part in parts_of(stream)}
            laid = regrouped(laid, before, after, counts)
        return self._kept(span, laid)


def by_itself(tokens: torch.Tensor) -> torch.Tensor:
    """Tokens that hold no others beside them in memory, as a view of some of a row does."""
    return tokens.clone() if tokens.untyped_storage().nbytes() > tokens.nbytes else tokens
