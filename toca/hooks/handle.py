"""What carries a decision to a module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from ..axes.fills import Fill, differences
from ..axes.fills.base import Combine
from ..axes.fills.renewal import Renewal
from ..kernels.rows import put_rows, take_rows
from ..kernels.series import weighted_sum
from ..models import CallShape
from ..models.dialect import Output, Present, Projected, Row, over_batch


class Kept(Protocol):
    """The terms of a quantity, as a module's forward sees them."""

    value: Any

    @property
    def tokens(self) -> int: ...

    def renew(self, value: Any, scales: Sequence[Any] = ..., renewal: Renewal = ...) -> None: ...

    def total(self, weights: Sequence[Any], combine: Combine = ...) -> Any: ...

    def rewrite(self, value: Any) -> None: ...

    def is_held(self, value: Any) -> bool: ...


class Remembered(Protocol):
    """What a site remembers, as its module's forward sees it."""

    @property
    def terms(self) -> Kept: ...

    @property
    def context(self) -> Kept: ...

    @property
    def statistic(self) -> torch.Tensor | None: ...


class Handle:
    """The frozen decision of one site for the running call. It sits on the module and is all that a module's forward
    looks at, so that `torch.compile` guards on it and nothing else; hence its many attributes, which a call needs at
    once.

    Attributes:
        action (`str`): `"compute"`, `"partial"`, `"reuse"`, `"forecast"`, or `"skip"` (the input is handed back).
        keep (`bool`): Whether a computed output is remembered.
        scales (`list`): Of the terms when an output is remembered; empty where nothing is forecast.
        weights (`list`): Of the terms in what fills; empty where the last output is reused.
        renewal, combine (`Callable`): How an output enters the terms, and what fills is made of them.
        index (`torch.Tensor` or `None`): (rows, k): the tokens a partial action computes, counted over the batch.
        choose (`Callable` or `None`): Makes the index when its turn comes, where it could not be made before.
        spread (`Callable` or `None`): `(filled, index, rows) -> filled`: what the computed rows do to the others.
        measure (`Callable` or `None`): `projected -> statistic`, where attention is measured.
        refresh (`bool`): Whether attention renews its cached keys and values: those of the tokens that are `present`,
            or where all are, of all.
        present (`Present` or `None`): The tokens that are there, where others were dropped before the first block.
        row (`Row` or `None`): Of self-attention that is made for some tokens: those of a row, of which they are
            chosen.
        state (`Remembered` or `None`): What the site remembers.
        lean_norm (`bool`): Whether the norm before the module makes only the tokens that the module reads.
        dense (`bool`): Whether a block's outputs are laid out like every other block's, so that one compiled graph
            serves all of them.
        note_input (`bool`): Whether attention notes its input.
        noted (`torch.Tensor` or `None`): What it noted.
        joint (`bool`): Whether the module returns text and image.
        heads (`torch.Size` or `None`): What follows rows and tokens in its last output, where its heads stand apart.
        tokens_first (`bool`): Whether the module works on (tokens, rows, C); what is remembered is (rows, tokens, C).
    """

    def __init__(self, joint: bool = False, tokens_first: bool = False) -> None:
        self.joint, self.tokens_first = joint, tokens_first
        self.state: Remembered | None = None
        self.heads: torch.Size | None = None
        self.lean_norm = self.dense = False
        self.renewal: Renewal = differences
        self.combine: Combine = weighted_sum
        self.bypass()

    def bypass(self) -> None:
        """Compute, remember nothing, measure nothing."""
        self.action, self.keep, self.refresh, self.note_input = "compute", False, False, False
        self.measure: Callable[[Projected], torch.Tensor] | None = None
        self.index: torch.Tensor | None = None
        self.present: Present | None = None
        self.row: Row | None = None
        self.choose: Callable[[], torch.Tensor] | None = None
        self.spread: Callable[..., torch.Tensor] | None = None
        self.noted: torch.Tensor | None = None
        self.scales: list[Any] = []
        self.weights: list[Any] = []

    def fill_by(self, fill: Fill, shape: CallShape) -> None:
        """Have the terms made and combined as a fill does it in a call of these sizes."""
        self.renewal, self.combine = fill.renewal, fill.combine_for(shape)

    def passed(self, queries: torch.Tensor) -> torch.Tensor:
        """What takes the place of the output of attention that does not run and whose output nobody reads: its input,
        or something of the output's shape."""
        return queries if self.heads is None else queries.new_zeros(*queries.shape[:2], *self.heads)

    def kept(self, output: Any) -> Any:
        """Remember `output` (a tensor or a tuple of tensors) and return it."""
        whole = isinstance(output, torch.Tensor)
        if whole and output.ndim > 3:
            self.heads = output.shape[2:]
        if self.keep:
            value = self.turned(output).contiguous() if whole else tuple(part.contiguous() for part in output)
            self._memory.terms.renew(value, self.scales, self.renewal)
        return output

    def filled(self) -> Any:
        """What takes the place of the output: the last one, or its forecast."""
        return self.turned(self._filled())

    def _filled(self) -> Any:
        return self._memory.terms.total(self.weights, self.combine)

    def turned(self, tensor: Any) -> Any:
        """(rows, tokens, C) as the module has it, and what the module has as (rows, tokens, C)."""
        return tensor.transpose(0, 1) if self.tokens_first else tensor

    def refreshed(self, rows: torch.Tensor) -> torch.Tensor:
        """All tokens: the computed `rows` (B, k, C), and what fills the others.

        Where outputs are reused the rows are remembered with them. A forecast goes on from whole outputs only, for
        its terms would not fit a token that is newer than they are.
        """
        filled, index, rows = self._to_be_written(), self.chosen(), self.turned(rows)
        if self.spread is not None:
            filled = self.spread(filled, index, rows)
        return self.turned(self._written(put_rows(filled, index, rows)))

    def refreshed_at(self, output: Output, present: Present) -> Output:
        """The same of self-attention: its `output` for the tokens that are there, in one stream, or in that of the
        image and others that are whole."""
        filled = self._to_be_written()
        if isinstance(filled, torch.Tensor):
            return self._written(_put(filled, output, present))
        return self._written(tuple(_put(part, rows, present) for part, rows in zip(filled, output, strict=True)))

    def _to_be_written(self) -> Any:
        """What fills, for rows to be written into; a copy of it where what is held must stay."""
        filled = self._filled()
        if not self.weights or not self._memory.terms.is_held(filled):
            return filled
        return filled.clone() if isinstance(filled, torch.Tensor) else tuple(part.clone() for part in filled)

    def _written(self, filled: Any) -> Any:
        """Rows have been written into what fills; they are remembered where it is reused."""
        if not self.weights:
            self._memory.terms.rewrite(filled)
        return filled

    def picked(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The tokens to compute, (B, k, C); `hidden_states` itself where the norm has picked them."""
        return hidden_states if self.lean_norm else self.taken(hidden_states)

    def taken(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Those of all tokens that are to be computed."""
        return self.turned(take_rows(self.turned(hidden_states), self.chosen()))

    def one_token(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The first token of each row, where nobody reads any."""
        return hidden_states[:1] if self.tokens_first else hidden_states[:, :1]

    def chosen(self) -> torch.Tensor:
        """Index (B, k) of the tokens to compute; chosen once a step."""
        if self.choose is not None:
            self.index, self.choose = self.choose(), None
        return self.index  # type: ignore[return-value]

    @property
    def _memory(self) -> Remembered:
        return self.state  # type: ignore[return-value]


def _put(filled: torch.Tensor, rows: torch.Tensor, present: Present) -> torch.Tensor:
    """A stream, which is written to, with the computed `rows` in their places."""
    if rows.shape[1] == filled.shape[1]:
        return filled.copy_(rows)
    image = filled.shape[1] == present.image_tokens
    index = over_batch(present.image_places, filled.shape[1]) if image else present.over_batch
    return put_rows(filled, index, rows)
