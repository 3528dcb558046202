"""Terms that lie in the machine's memory, and are on the device only while they are read or written."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from .compact import CompactTerms, Narrow
from .ram import Ram
from .terms import Terms, Value, map_parts


class Stamp:
    """Stands for a value that was put in: another one has another."""


class AwayTerms(CompactTerms):
    """The same quantity, kept away from the device, in another dtype too if there is one. Nobody who asks sees it:
    what is not at hand is brought when it is read.

    Before a block that is compiled runs everything that it reads is at hand, and what it writes goes behind it: in
    what is traced no tensor is moved.

    Args:
        ram (`Ram`): Brings it and takes it away.
        dtype (`torch.dtype` or `None`): What is kept is in it; `None` for what it is computed in.
        row (`int`): As for `CompactTerms`.

    Attributes:
        device (`torch.device`): Where it was when it was last taken away.
    """

    def __init__(self, ram: Ram, dtype: torch.dtype | None, row: int) -> None:
        self._ram = ram
        self._home: tuple[Any, list[Any]] | None = None
        self.device = torch.device("cpu")
        super().__init__(dtype, row)
        self._written = False

    @property
    def value(self) -> Any:
        if self._value is None and self._home is not None:
            self._ram.bring(self)
        return self._wide(self._value)

    @value.setter
    def value(self, value: Any) -> None:
        self._value = None if value is None else map_parts(self._narrow, value)
        self._written, self._stamp = True, Stamp()

    @property
    def higher(self) -> list[Any]:
        if self._higher is None:
            self._ram.bring(self)
        return [self._wide(term) for term in self._higher]

    @higher.setter
    def higher(self, terms: list[Any]) -> None:
        self._higher = [map_parts(self._narrow, term) for term in terms]
        self._written = True

    @property
    def tokens(self) -> int:
        return (self._home[0] if self._value is None else self._value).shape[1]  # type: ignore[index]

    def rewrite(self, value: Value) -> None:
        self.value = value

    def is_held(self, value: Value) -> bool:
        first = value[0] if isinstance(value, tuple) else value
        return self._value is not None and first is tensors_of(self._value)[0]

    def mark(self) -> weakref.ref | None:
        return weakref.ref(self._stamp) if self._value is not None or self._home is not None else None

    def holds(self, mark: weakref.ref | None) -> bool:
        return mark is not None and mark() is self._stamp

    def tensors(self) -> list[torch.Tensor]:
        return self.present if self.at_hand else self.homes

    def emptied(self) -> AwayTerms:
        return AwayTerms(self._ram, self.dtype, self.row)

    def map(self, function: Callable[..., torch.Tensor], *others: Terms) -> Terms:
        self._ram.settle()
        made = super().map(function, *others)
        for each in (self, *others, made):
            each.put_away()
        return made

    # What moves it asks for it.

    @property
    def at_hand(self) -> bool:
        """Whether all of it is on the device."""
        return self._value is not None and self._higher is not None

    @property
    def present(self) -> list[torch.Tensor]:
        """What is on the device."""
        terms = [] if self._value is None else [self._value]
        return [tensor for term in (*terms, *(self._higher or ())) for tensor in tensors_of(term)]

    @property
    def homes(self) -> list[torch.Tensor]:
        """What lies in the machine's memory."""
        value, higher = self._home or (None, [])
        return [] if value is None else [tensor for term in (value, *higher) for tensor in tensors_of(term)]

    def take_in(self, tensors: Sequence[torch.Tensor]) -> None:
        """Copies on the device of what is at home; what has been written since stays."""
        assert self._home is not None, "what comes has been sent away"
        each = iter(tensors)
        value, *higher = (exchanged(term, each) for term in (self._home[0], *self._home[1]))
        self._value = value if self._value is None else self._value
        self._higher = higher if self._higher is None else self._higher

    def _bring_higher(self) -> None:
        """Where the value alone has been written: the terms beside it, if there are any."""
        if self._higher is None and self._home is not None and self._home[1]:
            self._ram.bring(self)
        self._higher = self._higher or []

    def put_away(self) -> None:
        """Nothing of it stays on the device; what has been written goes home before."""
        if self._value is None:
            return
        if self._written:
            self._bring_higher()
            present = self.present
            self.device = present[0].device
            each = iter(self._ram.send_home(self, present))
            value, *higher = (exchanged(term, each) for term in (self._value, *self._higher))
            self._home = value, higher
        self._value = self._higher = None
        self._written = False
        self._ram.gone(self)


def tensors_of(term: Any) -> list[torch.Tensor]:
    """The tensors that a term is kept in."""
    parts = term if isinstance(term, tuple) else (term,)
    return [tensor for part in parts for tensor in (part.codes, part.scale) if tensor is not None]


def exchanged(term: Any, tensors: Iterator[torch.Tensor]) -> Any:
    """The same term in other tensors."""

    def other(part: Narrow) -> Narrow:
        return Narrow(next(tensors), part.shape, part.dtype, None if part.scale is None else next(tensors))

    return map_parts(other, term)
