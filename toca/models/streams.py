"""Streams of tokens: which parts a row of tokens consists of, in the order in which they stand.

A stream is named by its parts, joined by a plus: `"image"`, `"text"`, `"text+image"` (joint attention, text first),
`"image+text"`, `"history+image"`, `"audio"`. The tokens that are denoised, those of a video's frames and of a sound
alike, are the part `"image"`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

IMAGE, TEXT = "image", "text"
JOINT = "text+image"
IMAGE_FIRST = "image+text"


def parts_of(stream: str) -> tuple[str, ...]:
    """The parts of a stream in order."""
    return tuple(stream.split("+"))


def place_of(part: str, stream: str, counts: Sequence[int]) -> slice:
    """Where a part stands in the rows of a stream.

    Args:
        part (`str`): One of the stream's parts, or several of them that stand side by side.
        stream (`str`): The stream.
        counts (`Sequence[int]`): Tokens of each of its parts.

    Raises:
        ValueError: If the stream has no such part.
    """
    names, wanted = parts_of(stream), parts_of(part)
    for first in range(len(names) - len(wanted) + 1):
        if names[first : first + len(wanted)] == wanted:
            start = sum(counts[:first])
            return slice(start, start + sum(counts[first : first + len(wanted)]))
    raise ValueError(f"The stream {stream} has no part {part}.")


def regrouped(
    tensors: Sequence[torch.Tensor], have: Sequence[str], want: Sequence[str], counts: dict[str, int]
) -> tuple[torch.Tensor | None, ...]:
    """The same tokens in other streams: text and image that become one row between two stacks of blocks, or the other
    way round.

    Args:
        tensors (`Sequence[torch.Tensor]`): One (rows, tokens, C) for each of the streams `have`.
        have, want (`Sequence[str]`): The streams. One with a part that is not there is `None`.
        counts (`dict[str, int]`): Tokens of each part.
    """
    if tuple(have) == tuple(want):
        return tuple(tensors)
    pieces: dict[str, torch.Tensor] = {}
    for stream, tensor in zip(have, tensors, strict=True):
        names = parts_of(stream)
        sizes = [counts[name] for name in names]
        pieces |= zip(names, tensor.split(sizes, dim=1), strict=True) if len(names) > 1 else [(stream, tensor)]
    return tuple(_together([pieces.get(name) for name in parts_of(stream)]) for stream in want)


def _together(pieces: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    there = [piece for piece in pieces if piece is not None]
    return torch.cat(there, dim=1) if len(there) == len(pieces) else None
