"""How to fill: what a site or a span returns for what it did not compute."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from ..kernels.rows import put_rows, take_rows
from ..kernels.series import weighted_sum


class Fill(ABC):
    """A forecast: terms f_0 to f_O kept of the steps that computed, and their weights in a later step.

    With each newly computed value F the terms become `f_0 = F` and `f_(i+1) = (f_i(new) - f_i(old)) * scale_i`; a
    step that computes nothing returns `f_0 + sum over i >= 1 of weight_i f_i`.
    """

    reads_history: ClassVar[bool] = True
    """Whether scales and weights depend on the steps that computed."""

    @property
    @abstractmethod
    def fill_order(self) -> int:
        """O: how many terms are kept besides the value itself."""

    @abstractmethod
    def scales(self, history: Sequence[int]) -> list[float]:
        """scale_0 to scale_(O-1) when a value has been computed.

        Args:
            history (`Sequence[int]`): The steps that computed, latest (this one) first.
        """

    @abstractmethod
    def weights(self, step: int, history: Sequence[int], num_inference_steps: int) -> list[float]:
        """weight_1 to weight_O in a step that is forecast.

        Args:
            step (`int`): The step.
            history (`Sequence[int]`): The steps that computed, latest first.
            num_inference_steps (`int`): S.
        """


class Handle:
    """The frozen decision of one site for the running call. It sits on the module (or attention processor) and is
    all that a module's forward looks at, so that `torch.compile` guards on it and nothing else.

    Attributes:
        action (`str`): `"compute"`, `"partial"`, `"reuse"`, `"forecast"`, or `"skip"` (the input is handed back).
        keep (`bool`): Whether a computed output is remembered.
        scales (`list`): Of the terms when an output is remembered; empty where nothing is forecast.
        weights (`list`): Of the terms in what fills; empty where the last output is reused.
        index (`torch.Tensor` or `None`): (rows, k): the tokens a partial action computes, counted over the batch.
        choose (`Callable` or `None`): Makes the index when its turn comes, where it could not be made before.
        spread (`Callable` or `None`): `(filled, index, rows) -> filled`: what the computed rows do to the others.
        measure (`Callable` or `None`): `projected -> statistic`, where attention is measured.
        refresh (`bool`): Whether attention renews its cached keys and values: those at `index`, the tokens that are
            there, or without one all of them.
        state (`SiteState`): What the site remembers.
        narrow (`bool`): Whether the norm before the module makes only the tokens that the module reads.
        dense (`bool`): Whether a block's outputs are laid out like every other block's, so that one compiled graph
            serves all of them.
        watch (`bool`): Whether attention notes its input.
        seen (`torch.Tensor` or `None`): What it noted.
        joint (`bool`): Whether the module returns text and image.
    """

    def __init__(self, joint: bool = False):
        self.joint = joint
        self.state: Any = None
        self.narrow = self.dense = False
        self.bypass()

    def bypass(self) -> None:
        """Compute, remember nothing, measure nothing."""
        self.action, self.keep, self.measure, self.refresh, self.watch = "compute", False, None, False, False
        self.index = self.choose = self.spread = self.seen = None
        self.scales: list = []
        self.weights: list = []

    def kept(self, output):
        """Remember `output` (a tensor or a tuple of tensors) and return it."""
        if self.keep:
            whole = isinstance(output, torch.Tensor)
            value = output.contiguous() if whole else tuple(part.contiguous() for part in output)
            self.state.terms.renew(value, self.scales)
        return output

    def filled(self):
        """What takes the place of the output: the last one, or its forecast."""
        return self.state.terms.total(self.weights)

    def refreshed(self, rows: torch.Tensor) -> torch.Tensor:
        """All tokens: the computed `rows` (B, k, C), and what fills the others.

        Where outputs are reused the rows are remembered with them. A forecast goes on from whole outputs only, for
        its terms would not fit a token that is newer than they are.
        """
        filled = self.filled()
        if self.weights and filled is self.state.terms.value:
            filled = filled.clone()
        index = self.chosen()
        if self.spread is not None:
            filled = self.spread(filled, index, rows)
        return put_rows(filled, index, rows)

    def picked(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The tokens to compute, (B, k, C); `hidden_states` itself where the norm has picked them."""
        return hidden_states if self.narrow else take_rows(hidden_states, self.chosen())

    def chosen(self) -> torch.Tensor:
        """Index (B, k) of the tokens to compute; chosen once a step."""
        if self.choose is not None:
            self.index, self.choose = self.choose(), None
        return self.index


class Terms:
    """f_0 to f_O of one quantity, each a tensor or a tuple of tensors.

    Attributes:
        value (`torch.Tensor` or `tuple[torch.Tensor, ...]` or `None`): f_0: what was last computed.
        higher (`list`): f_1 to f_O, as far as they are kept.
        history (`tuple[int, ...]`): The steps that computed, latest first; kept where something is forecast.
    """

    def __init__(self):
        self.value: Any = None
        self.higher: list = []
        self.history: tuple[int, ...] = ()

    def renew(self, value: Any, scales: Sequence[float]) -> None:
        """Take in a newly computed value."""
        if scales and not self.higher:
            self.higher = [_map(torch.zeros_like, value) for _ in scales]
        carry, previous = value, self.value
        for i, scale in enumerate(scales):
            difference = _map(torch.zeros_like, carry) if previous is None else _map(torch.sub, carry, previous)
            # A number that is not finite, now or then, tells of no course: what goes on from it stands still.
            carry = _map(lambda part, by=scale: part.mul_(by).nan_to_num_(0.0, 0.0, 0.0), difference)
            previous = self.higher[i]
            self.higher[i] = carry
        self.value = value

    def mark(self) -> weakref.ref | None:
        """What tells later whether the value has been renewed; it keeps nothing alive."""
        first = self.value[0] if isinstance(self.value, tuple) else self.value
        return None if first is None else weakref.ref(first)

    def holds(self, mark: weakref.ref | None) -> bool:
        """Whether the value is the one that was marked."""
        first = self.value[0] if isinstance(self.value, tuple) else self.value
        return mark is not None and mark() is first

    def total(self, weights: Sequence[Any]) -> Any:
        """f_0 + sum of weight_i f_i."""
        if not weights:
            return self.value
        return _map(lambda value, *higher: weighted_sum(value, higher, weights), self.value, *self.higher)

    def tensors(self) -> list[torch.Tensor]:
        """All tensors held."""
        held = [] if self.value is None else [self.value, *self.higher]
        return [part for term in held for part in (term if isinstance(term, tuple) else (term,))]

    def map(self, function, *others: Terms) -> Terms:
        """The same with `function` applied to every tensor, and to those of `others` that stand in its place."""
        terms = Terms()
        values, higher = zip(*((each.value, each.higher) for each in (self, *others)), strict=True)
        terms.value = None if self.value is None else _map(function, *values)
        terms.higher = [_map(function, *each) for each in zip(*higher, strict=True)]
        terms.history = self.history
        return terms


def _map(function, *terms):
    """Apply a function of tensors to tensors, or to each part of tuples of tensors."""
    if isinstance(terms[0], tuple):
        return tuple(function(*parts) for parts in zip(*terms, strict=True))
    return function(*terms)
