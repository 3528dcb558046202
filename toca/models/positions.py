"""What tells the tokens of an attention their positions, for those that are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .dialect import Output, Present


@dataclass(frozen=True)
class Positions:
    """An argument of an attention module that tells tokens their positions: a tensor, or tensors in tuples, lists and
    dictionaries.

    Args:
        argument (`str`): Its name.
        dim (`int`, defaults to 0): Dimension of its tensors along which the tokens run: all of a row, the image's
            alone, or those up to the image's last or to one after it. If it is not the first, that one is the
            batch's. Counted from the last one where it is negative.
        items (`tuple`, defaults to `()`): Which items of a tuple or dictionary are meant; empty: all.
        unless (`str` or `None`): An argument beside which this one means something else.
    """

    argument: str
    dim: int = 0
    items: tuple[int | str, ...] = ()
    unless: str | None = None

    def is_in(self, call: dict[str, Any]) -> bool:
        """Whether a call has it."""
        return call.get(self.argument) is not None and (self.unless is None or call.get(self.unless) is None)

    def of(self, call: dict[str, Any], present: Present) -> Any:
        """The argument for the tokens that are there alone: of one sample where `dim` is 0, else of as many rows as
        there are samples.

        Raises:
            ValueError: If it is neither for all tokens of the row nor for those of the image.
        """
        return _mapped((call[self.argument],), lambda value: self._cut(value, present, self.items))[0]

    def _cut(self, value: Any, present: Present, items: tuple[int | str, ...] = ()) -> Any:
        if not isinstance(value, torch.Tensor):
            return _mapped(value, lambda item: self._cut(item, present), items)
        dim = self.dim % value.ndim
        tokens, last = value.shape[dim], present.first_image + present.image_tokens
        image = tokens == present.image_tokens
        if not image and not last <= tokens <= present.tokens:
            raise ValueError(
                f"`{self.argument}` tells {tokens} tokens their positions along dimension {self.dim}; the row has "
                f"{present.tokens}, {present.image_tokens} of them of the image."
            )
        # All after the image's last are there, so that the places without their last are those of the first tokens.
        places = present.image_places if image else present.places[:, : tokens - present.tokens or None]
        places = places.to(value.device)
        if dim == 0:
            return value.index_select(0, places[0])
        rows = (value[min(row, len(value) - 1)] for row in range(len(places)))
        return torch.stack([row.index_select(dim - 1, here) for row, here in zip(rows, places, strict=True)])


def row_of(value: Any, row: int, rows: int) -> Any:
    """One row of whatever has `rows` of them; all else as it is."""
    if isinstance(value, torch.Tensor):
        return value[row : row + 1] if value.ndim and value.shape[0] == rows else value
    return _mapped(value, lambda item: row_of(item, row, rows))


def _mapped(value: Any, function: Callable[[Any], Any], keys: tuple[int | str, ...] = ()) -> Any:
    """A tuple, list or dictionary with `function` of its items, or of those at `keys`; anything else as it is."""
    if isinstance(value, dict):
        return {key: function(item) if key in (keys or value) else item for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(function(item) if not keys or i in keys else item for i, item in enumerate(value))
    return value


def joined(outputs: Sequence[Output]) -> Output:
    """The outputs of one row after another as one."""
    if len(outputs) == 1 or outputs[0] is None:
        return outputs[0]
    if isinstance(outputs[0], torch.Tensor):
        return torch.cat(list(outputs))
    return tuple(joined(streams) for streams in zip(*outputs, strict=True))
