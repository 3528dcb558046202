"""What is known of the attention modules of diffusers: how a cached step gets at query, key and value.

A cached step needs what the stock processors keep to themselves: the query and the key as they enter the softmax
(after normalisation and rotary embedding), to measure which tokens matter, or to attend to tokens that are not there.
Where neither is asked for the stock processor runs.

A dialect says how. Those that re-state a processor stand in `attention.py`; the one in `intercepted.py` runs the stock
processor, whichever it is, and looks on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ..kernels.rows import put_rows

Output = Any
"""What an attention module returns: one stream, or image and text, in whatever order, one of which may be `None`."""
Forward = Callable[..., Output]
"""The stock `forward` of an attention module's class."""
Measure = Callable[["Projected"], torch.Tensor]
"""What is measured of an attention: `projected -> statistic (rows, tokens)`."""


class Projected(NamedTuple):
    """Query, key and value of shape (B, heads, tokens, head_dim) and the additive mask, as the softmax sees them."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None


class Present(NamedTuple):
    """The tokens of a row that are there, where others of it are not.

    Args:
        places (`torch.Tensor`): (B, k): their places within the row.
        tokens (`int`): Tokens of the whole row.
        first_image, image_tokens (`int`): Where in the whole row the image's tokens begin, and how many there are.
        counted (`torch.Tensor` or `None`): (B, k): `over_batch`, where it has been made for all attentions alike.
    """

    places: torch.Tensor
    tokens: int
    first_image: int
    image_tokens: int
    counted: torch.Tensor | None = None

    @property
    def over_batch(self) -> torch.Tensor:
        """(B, k): the places, counted over the rows of the whole batch."""
        return over_batch(self.places, self.tokens) if self.counted is None else self.counted

    def of_rows(self, rows: slice) -> Present:
        """The same of some rows of the batch."""
        return self._replace(places=self.places[rows], counted=None)

    @property
    def image_places(self) -> torch.Tensor:
        """(B, k): places among the image's tokens of those that are there; all tokens beside them always are."""
        count = self.places.shape[1] - (self.tokens - self.image_tokens)
        return self.places[:, self.first_image : self.first_image + count] - self.first_image


class Row(NamedTuple):
    """A row of tokens of which some are chosen: those of the image; all beside them always are.

    Args:
        tokens (`int`): Tokens of the row.
        first_image, image_tokens (`int`): Where in it the image's tokens begin, and how many there are.
    """

    tokens: int
    first_image: int
    image_tokens: int

    def with_chosen(self, index: torch.Tensor) -> Present:
        """The tokens that are there where those at `index` (B, k), counted over the rows of the batch, are chosen."""
        chosen, places = index % self.tokens, torch.arange(self.tokens, device=index.device).expand(len(index), -1)
        last = self.first_image + self.image_tokens
        within = torch.cat([places[:, : self.first_image], chosen, places[:, last:]], dim=1)
        return Present(within, *self, over_batch(within, self.tokens))


class Remembered(NamedTuple):
    """What an attention has made: its output, the keys and values (B, keys, heads x head_dim), contiguous, and the
    statistic (rows, tokens) where one was asked for."""

    output: Output
    key: torch.Tensor
    value: torch.Tensor
    statistic: torch.Tensor | None = None


class AttentionDialect(ABC):
    """How to get at query, key and value of a family's attention modules. `stock` is the module's own `forward`, and
    `call` its arguments by name, the queries (B, T, C) first.

    Attributes:
        measures (`bool`): Whether the attention that a method may ask to measure makes a map.
        drops (`bool`): Whether it can attend to tokens that have been dropped before the first block.
        chooses (`bool`): Whether it can be run for some of the tokens that it is given, beside what `drops` says.
        probed (`str` or `None`): The argument with the tokens that a gate may look at, where it is not the first.
    """

    measures: bool
    drops: bool
    probed: str | None = None
    chooses: bool = True

    @abstractmethod
    def why_not(self, attn: Any) -> str | None:
        """Why the module `attn` cannot be measured, as the end of a sentence that names the module's layer; `None` if
        it can, as far as can be known before it runs."""

    @abstractmethod
    def by_row(self, attn: Any) -> bool:
        """Whether the processor of `attn` is known to treat each row of a batch by itself."""

    @abstractmethod
    def measured(
        self, stock: Forward, attn: Any, call: dict[str, Any], measure: Measure, tokens: int
    ) -> tuple[Output, torch.Tensor]:
        """The output, and the statistic (rows, `tokens`) of the map that made it."""

    @abstractmethod
    def remembered(
        self, stock: Forward, attn: Any, call: dict[str, Any], measure: Measure | None = None, tokens: int = 0
    ) -> Remembered:
        """The output, with the keys and values that it was made with, and what is measured of `tokens` tokens."""

    @abstractmethod
    def with_dropped(
        self, stock: Forward, attn: Any, call: dict[str, Any], present: Present, held: tuple[torch.Tensor, ...]
    ) -> Output:
        """The output of the tokens that are there, which attend to all.

        Args:
            call (`dict`): Its streams hold the tokens that are there, all else is as for all tokens.
            present (`Present`): Which they are.
            held (`tuple[torch.Tensor, ...]`): What `remembered` returned of keys and values; renewed in place.
        """

    @abstractmethod
    def for_queries(
        self, stock: Forward, attn: Any, call: dict[str, Any], present: Present, measure: Measure | None
    ) -> tuple[Output, torch.Tensor | None]:
        """Cross-attention of the queries that are there: the output, and what is measured of them."""


def processor_of(attn: Any) -> Any:
    """The processor of an attention module, however it is held; `None` where it has none."""
    return attn.get_processor() if hasattr(attn, "get_processor") else getattr(attn, "processor", None)


def speaker_of(attn: Any) -> type:
    """The class that knows the mathematics: the processor's, or the module's own where it has none."""
    processor = processor_of(attn)
    return (attn if processor is None else processor).__class__


def is_stock(cls: type) -> bool:
    """Whether a class is one of diffusers."""
    return cls.__module__.partition(".")[0] == "diffusers"


def heads_first(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, T, heads * d) -> (B, heads, T, d)."""
    return tensor.unflatten(-1, (heads, -1)).transpose(1, 2)


def tokens_first(tensor: torch.Tensor) -> torch.Tensor:
    """(B, heads, T, d) -> (B, T, heads * d), contiguous."""
    return tensor.transpose(1, 2).flatten(2).contiguous()


def over_batch(places: torch.Tensor, tokens: int) -> torch.Tensor:
    """Places (B, k) within rows of so many tokens, counted over the rows of the batch."""
    return places + torch.arange(len(places), device=places.device)[:, None] * tokens


def renewed(held: torch.Tensor, index: torch.Tensor, fresh: torch.Tensor) -> torch.Tensor:
    """Write keys or values of the tokens that are there, in place; all of them.

    Args:
        held (`torch.Tensor`): (B, T, heads * d), contiguous.
        index (`torch.Tensor`): (B, k): places, counted over the rows of the batch.
        fresh (`torch.Tensor`): (B, heads, k, d).

    Returns:
        `torch.Tensor`: (B, heads, T, d).
    """
    return heads_first(put_rows(held, index, tokens_first(fresh)), fresh.shape[1])
