"""The sizes of a transformer call, and how its tokens are laid out in rows."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import torch

from ..checks import Count, SomeOf
from .streams import parts_of


@dataclass(frozen=True)
class CallShape:
    """The sizes of one transformer call.

    Args:
        batch (`int`): Samples in the call, classifier-free-guidance halves included.
        grid (`tuple[int, int]` or `None`): Rows and columns of image tokens; `None` where only the model input tells
            (FLUX packs its latents).
        tokens (`int`): Image tokens of one frame.
        text_tokens (`int`): Text tokens of one sample; 0 without text.
        frames (`int`, defaults to 1): Frames of one sample, as the blocks see them. A sound is frames of one token.
        others (`tuple[tuple[str, int], ...]`): Tokens of one sample in further streams, by name (`"audio"`,
            `"history"`).
    """

    batch: SomeOf
    tokens: SomeOf
    grid: tuple[SomeOf, SomeOf] | None = None
    text_tokens: Count = 0
    frames: SomeOf = 1
    others: tuple[tuple[str, Count], ...] = ()

    @property
    def image_tokens(self) -> int:
        """Image tokens of one sample, of all its frames."""
        return self.frames * self.tokens

    @property
    def times(self) -> int:
        """Timesteps of one sample: the stream `"times"`, or one."""
        return dict(self.others).get("times", 1)

    def count(self, part: str) -> int:
        """Tokens of one sample in a stream. Raises `KeyError` if there is none of this name."""
        if part == "image":
            return self.image_tokens
        return self.text_tokens if part == "text" else dict(self.others)[part]

    def count_of_call(self, part: str) -> int:
        """Tokens in a stream that all samples share; 1 where none is named."""
        return self.count(part) if part else 1

    def counts(self, stream: str) -> tuple[int, ...]:
        """The same of each part of a stream, in order."""
        return tuple(map(self.count, parts_of(stream)))

    @property
    def known_grid(self) -> tuple[int, int]:
        """`grid`, where it cannot be done without. Raises `ValueError` if it is not told."""
        if self.grid is None:
            raise ValueError("The grid of the image tokens is not known: the family must tell it.")
        return self.grid


@dataclass(frozen=True)
class CallKey:
    """What must not change within a generation; a branch starts anew where it does. What was kept in inference mode
    cannot be written in outside of it, and what was kept with some LoRA `adapters` is not that of others.
    `cache_dtype` is the dtype that features are kept in, `None` for the one that they are computed in. Where several
    processes share the tokens `shape` is what the blocks of this one see, and `around` what the model is called
    with."""

    shape: CallShape
    dtype: torch.dtype
    device: torch.device
    inference: bool = False
    cache_dtype: torch.dtype | None = None
    around: CallShape | None = None
    adapters: Hashable = None

    @property
    def whole(self) -> CallShape:
        """The sizes of what the model is called with, whoever has the tokens."""
        return self.shape if self.around is None else self.around

    def with_rows(self, rows: int) -> CallKey:
        """The same for fewer rows of the batch."""
        around = None if self.around is None else replace(self.around, batch=rows)
        return replace(self, shape=replace(self.shape, batch=rows), around=around)


def laid_out(stream: torch.Tensor, shape: CallShape, have: str, want: str) -> torch.Tensor:
    """A stream of image tokens with rows of another kind.

    Args:
        stream (`torch.Tensor`): (rows, tokens of a row, C).
        shape (`CallShape`): Of the call.
        have, want (`str`): `"sample"`, `"frame"` or `"position"`: what a row is, and what it shall be.
    """
    if have == want:
        return stream
    outer, inner = (shape.tokens, shape.frames) if have == "position" else (shape.frames, shape.tokens)
    apart = stream.reshape(shape.batch, outer, inner, -1)
    if "position" in (have, want):
        apart = apart.transpose(1, 2)
    return apart.flatten(1, 2) if want == "sample" else apart.flatten(0, 1)
