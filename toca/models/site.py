"""A cacheable place of one model, as plans and methods see it, with what it costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..checks import Count, Layers, SomeLayers, SomeOf
from .shape import CallShape
from .spec import Attends, Rows
from .streams import IMAGE, parts_of, place_of


@dataclass(frozen=True)
class Site:
    """A cacheable place of one model, as plans and methods see it: a row of a table, whose columns are its fields.

    Args:
        layer (`int`): Position of its block in the order in which the model runs them, over all stacks.
        module (`str`): One of `toca.models.spec.MODULES`.
        stack (`str`): Name of the stack of blocks.
        index (`int`): Position of the block within its stack, from 0.
        depth (`int`): Number of blocks in the stack.
        stream (`str`): The tokens of its output, the parts of a row joined by a plus (`toca.models.streams`).
        rows (`str`): `"sample"`, `"frame"` or `"position"`: what a row of its batch dimension is.
        inside (`str` or `None`): Module of the same layer without which this output is never looked at.
        attends (`str` or `None`): `"self"` or `"cross"` for attention.
        width (`int`): Channels of the output that is kept.
        attention_width (`int`): heads x head_dim for attention, else 0.
        key_width (`int`): The same of keys and values that have fewer heads in the product, else 0.
        token_flops (`int`): FLOPs of the linear layers for one of its own tokens.
        text_flops (`int`): FLOPs of the linear layers for one token of the text, or of `context`, recomputed or not.
        context (`str` or `None`): The tokens that attention attends to: those alone for cross-attention, and beside
            its own for self-attention.
        apart_flops (`tuple[tuple[str, int], ...]`): The same for parts of `context` that have linear layers of their
            own instead.
        measured (`str` or `None`): Those of them whose map is measured, where it is not that of all.
        causal (`str` or `None`): The first part of its rows, where that attends to itself alone, and is not measured.
        whole (`bool`): Whether it is computed or reused whole, for it mixes tokens.
        tile (`int`): Attention pads its queries to a multiple of it, and its keys by as many.
        pooled (`int`): Tokens of a tile, where a map of their means is made before that of the tokens; else 0.
        text_width (`int`): Channels of what is kept of the text, where it has others; else 0.
    """

    layer: Layers
    module: str
    stack: str
    index: Layers
    depth: SomeLayers
    stream: str
    rows: Rows
    inside: str | None
    attends: Attends | None
    width: SomeOf
    attention_width: Count
    token_flops: Count
    text_flops: Count
    context: str | None = None
    apart_flops: tuple[tuple[str, Count], ...] = ()
    measured: str | None = None
    causal: str | None = None
    whole: bool = False
    key_width: Count = 0
    tile: SomeOf = 1
    pooled: Count = 0
    text_width: Count = 0

    @property
    def key(self) -> tuple[int, str]:
        return self.layer, self.module

    def geometry(self, shape: CallShape) -> tuple[int, int]:
        """Rows of the batch dimension and tokens in each, for a call of this shape."""
        return rows_of(self.rows, shape), sum(self.counts(shape))

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of a row in order."""
        return parts_of(self.stream)

    def counts(self, shape: CallShape) -> tuple[int, ...]:
        """Tokens of each part of a row."""
        return tuple(self._count(part, shape) for part in self.parts)

    @property
    def has_image(self) -> bool:
        """Whether its rows hold the tokens of a picture, or of all frames of a sample, side by side."""
        return IMAGE in self.parts and self.rows != "position"

    def image_tokens(self, shape: CallShape) -> int:
        """Image tokens of a row."""
        return self._count(IMAGE, shape) if IMAGE in self.parts else 0

    def chosen_of(self, shape: CallShape) -> slice:
        """Where in a row those tokens stand of which self-attention may be made for some: the image's, or where it has
        none all. It is made for all tokens beside them."""
        return self.place(IMAGE, shape) if IMAGE in self.parts else slice(0, self.geometry(shape)[1])

    @property
    def keys_wide(self) -> int:
        """Channels of a key, or a value."""
        return self.key_width or self.attention_width

    def place(self, part: str, shape: CallShape) -> slice:
        """Where a part stands in a row. Raises `ValueError` if it does not."""
        return place_of(part, self.stream, self.counts(shape))

    def _count(self, part: str, shape: CallShape) -> int:
        in_row = {"frame": shape.tokens, "position": shape.frames}
        return in_row.get(self.rows, shape.image_tokens) if part == IMAGE else shape.count(part)

    def _context_tokens(self, shape: CallShape) -> int:
        """Tokens beside its own that attention attends to."""
        return 0 if self.context is None else sum(self._count(part, shape) for part in parts_of(self.context))

    def numbers(self, shape: CallShape) -> int:
        """Numbers in an output that is kept."""
        rows, own = self.geometry(shape)
        narrow = self._count("text", shape) if self.text_width else 0
        return rows * ((own - narrow) * self.width + narrow * self.text_width)

    def flops(self, shape: CallShape, tokens: int) -> int:
        """FLOPs when `tokens` tokens of each row are computed."""
        rows, own = self.geometry(shape)
        apart = self._context_tokens(shape) if self.context else own - self.image_tokens(shape)
        # Text that stands in the row has linear layers of its own, or none.
        in_row = apart if self.text_flops and not self.context else 0
        linear = (tokens - in_row) * self.token_flops + apart * self.text_flops
        linear += sum(self._count(part, shape) * (flops - self.text_flops) for part, flops in self.apart_flops)
        padding = -tokens % self.tile
        products = (tokens + padding) * (self._keys(shape, own) + padding)
        if self.causal is not None:
            first = self._count(self.causal, shape)
            products -= first * (own - first)
        tiles = tokens // self.pooled * (self._keys(shape, own) // self.pooled) if self.pooled else 0
        return rows * (linear + (2 * products + tiles) * 2 * self.attention_width)

    def measuring_flops(self, shape: CallShape, tokens: int) -> int:
        """FLOPs of the query-key product that measuring attention over `tokens` queries takes."""
        if self.measured is not None:
            return replace(self, context=self.measured, measured=None).measuring_flops(shape, tokens)
        rows, own = self.geometry(shape)
        tokens -= 0 if self.causal is None else self._count(self.causal, shape)
        return rows * 2 * tokens * self._keys(shape, own) * self.attention_width

    def keys(self, shape: CallShape) -> int:
        """Keys that each token of a row attends to."""
        return self._keys(shape, self.geometry(shape)[1])

    def _keys(self, shape: CallShape, own: int) -> int:
        return self._context_tokens(shape) + (0 if self.attends == "cross" else own)


def rows_of(rows: Rows, shape: CallShape) -> int:
    """How many rows of a kind a call has."""
    if rows == "call":
        return 1
    each = {"sample": 1, "frame": shape.frames, "position": shape.tokens, "text": shape.text_tokens}
    return shape.batch * each[rows]
