"""What is kept of a span of blocks, and what is put in its place, at the blocks' two ends."""

from __future__ import annotations

from typing import Any

import torch

from ..axes.fills import Fill, differences
from ..axes.spans import Span
from ..hooks.block import BlockHandle, Streams
from ..kernels.series import weighted_sum
from ..memory.terms import Terms
from ..models import CallShape, FamilySpec, Layout
from ..models.shape import laid_out


class BlockSpan:
    """Watches and fills spans through the handles of their first and last blocks.

    A span's first and last block may lay out their rows differently (Latte's spatial and temporal blocks), and may
    have more than one stream (text and image in FLUX). After the last block of the model nobody reads the text.

    Args:
        layout (`Layout`): The sites.
        spec (`FamilySpec`): The streams of the blocks.
    """

    def __init__(self, layout: Layout, spec: FamilySpec):
        streams = {stack.stack: stack.streams for stack in spec.stacks}
        stacks = {site.layer: site.stack for site in layout.sites}
        self.rows = {site.layer: site.rows for site in layout.sites}
        self.streams = {layer: streams[stack] for layer, stack in stacks.items()}

    def image_stream(self, layer: int) -> int:
        """Place of the image tokens among the streams of a layer."""
        return self.streams[layer].index("hidden_states")

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
                before = self._laid_out(span, self._kept(span, entered["streams"]), shape)
                kept = tuple(after - start for after, start in zip(kept, before, strict=True))
            # A view of the image tokens would hold the text tokens too.
            terms.renew(tuple(stream.contiguous() for stream in kept), scales, renewal)
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
        """Have the span's place taken; its blocks do not run."""
        combine = weighted_sum if by is None else by.combine
        entered: dict[str, Streams] = {}

        def enter(streams: Streams) -> Streams:
            entered["streams"] = streams
            return streams

        def leave(left: Streams) -> Streams:
            if not entered:
                return left
            streams = self._laid_out(span, entered["streams"], shape)
            filled = terms.total(weights, combine)
            if span.keeps == "residual":
                before = self._kept(span, streams)
                filled = tuple(start + residual for start, residual in zip(before, filled, strict=True))
            return filled if len(filled) == len(streams) else self._put(span, streams, filled[0])

        blocks[span.first].entering.append(enter)
        blocks[span.stop - 1].leaving.append(leave)

    def _kept(self, span: Span, streams: Streams) -> Streams:
        """The streams that count: all of them, or after the last block the image."""
        last = span.stop == len(self.rows)
        return (streams[self.image_stream(span.stop - 1)],) if last else streams

    def _put(self, span: Span, streams: Streams, image: torch.Tensor) -> Streams:
        place = self.image_stream(span.stop - 1)
        return tuple(image if i == place else stream for i, stream in enumerate(streams))

    def _laid_out(self, span: Span, streams: Streams, shape: CallShape) -> Streams:
        """Streams that enter the span, with their rows laid out as those that leave it."""
        have, want = self.rows[span.first], self.rows[span.stop - 1]
        return tuple(laid_out(stream, shape, have, want) for stream in streams)
