"""What is kept of one quantity: its last value, and the terms that a fill makes of it and of those before."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..axes.fills import Fill, differences
from ..axes.fills.base import Combine
from ..axes.fills.renewal import Renewal
from ..axes.sampling import Timeline
from ..kernels.series import weighted_sum

Value = torch.Tensor | tuple[torch.Tensor, ...]


class Terms:
    """f_0 to f_O of one quantity, each a tensor or a tuple of tensors.

    Attributes:
        value (`torch.Tensor` or `tuple[torch.Tensor, ...]` or `None`): f_0: what was last computed.
        higher (`list`): f_1 to f_O, as far as they are kept.
        history (`tuple[int, ...]`): The steps that computed, latest first; kept where something is forecast.
    """

    def __init__(self) -> None:
        self.value: Any = None
        self.higher: list[Any] = []
        self.history: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens of a row of the value, which is one tensor (rows, tokens, ...)."""
        return self.value.shape[1]

    def note_step(self, step: int, fill: Fill) -> None:
        """A value is being computed in this step, for the fill to go on from."""
        self.history = (step, *self.history)[: fill.remembers]

    def scales(self, step: int, fill: Fill, timeline: Timeline) -> list[float]:
        """Note the step; the scales with which the value that it computes is to enter the terms."""
        self.note_step(step, fill)
        return fill.scales(self.history, timeline)

    def renew(self, value: Value, scales: Sequence[Any] = (), renewal: Renewal = differences) -> None:
        """Take in a newly computed value.

        Args:
            value (`torch.Tensor` or `tuple[torch.Tensor, ...]`): The value.
            scales (`Sequence`): A number, or a tensor () of it, for each term; none where nothing is forecast.
            renewal (`Callable`): How the value enters the terms.
        """
        if scales:
            higher = self.higher or [map_parts(torch.zeros_like, value) for _ in scales]
            self.higher = _renewed(value, self.value, higher, scales, renewal)
        self.value = value

    def rewrite(self, value: Value) -> None:
        """Take in what has been written into the value that `total` has given."""

    def is_held(self, value: Value) -> bool:
        """Whether to write into a value is to write into what is held."""
        return value is self.value

    def mark(self) -> weakref.ref | None:
        """What tells later whether the value has been renewed; it keeps nothing alive."""
        first = next(iter(self.tensors()), None)
        return None if first is None else weakref.ref(first)

    def holds(self, mark: weakref.ref | None) -> bool:
        """Whether the value is the one that was marked."""
        return mark is not None and mark() is next(iter(self.tensors()), None)

    def total(self, weights: Sequence[Any], combine: Combine = weighted_sum) -> Any:
        """What fills: the value where there are no weights, else what the terms and their weights make."""
        if not weights:
            return self.value
        return map_parts(lambda value, *higher: combine(value, higher, weights), self.value, *self.higher)

    def tensors(self) -> list[torch.Tensor]:
        """All tensors held."""
        held = [] if self.value is None else [self.value, *self.higher]
        return [part for term in held for part in (term if isinstance(term, tuple) else (term,))]

    def put_away(self) -> None:
        """What has been read or written is done with for now. Here it stays where it is."""

    def emptied(self) -> Terms:
        """Others that keep in the same way, and hold nothing yet."""
        return Terms()

    def map(self, function: Callable[..., torch.Tensor], *others: Terms) -> Terms:
        """The same with `function` applied to every tensor, and to those of `others` that stand in its place."""
        terms = self.emptied()
        values, higher = zip(*((each.value, each.higher) for each in (self, *others)), strict=True)
        terms.value = None if values[0] is None else map_parts(function, *values)
        terms.higher = [map_parts(function, *each) for each in zip(*higher, strict=True)]
        terms.history = self.history
        return terms


def _renewed(value: Any, before: Any, higher: list[Any], scales: Sequence[Any], renewal: Renewal) -> list[Any]:
    """The terms f_1 to f_O when a value has been computed, part by part."""
    if not isinstance(value, tuple):
        return renewal(value, before, higher, scales)
    befores = (None,) * len(value) if before is None else before
    parts = zip(value, befores, zip(*higher, strict=True), strict=True)
    renewed = [renewal(part, old, list(terms), scales) for part, old, terms in parts]
    return list(zip(*renewed, strict=True))


def map_parts(function: Callable[..., Any], *terms: Any) -> Any:
    """Apply a function of tensors to tensors, or to each part of tuples of tensors."""
    if isinstance(terms[0], tuple):
        return tuple(function(*parts) for parts in zip(*terms, strict=True))
    return function(*terms)
