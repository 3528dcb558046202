"""A device with streams, as unkind as one can be: a copy is made only when it is waited for, and what it is made of
must be there by then. Whoever forgets to wait reads numbers that are none."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from toca.memory.copier import Copier


@dataclass(eq=False)
class Ticket:
    """A copy that is still to be made."""

    make: Callable[[], None]
    homes: list[int]
    done: bool = False


class LateCopier(Copier):
    """Copies in two queues, one for each direction."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.outwards: list[Ticket] = []
        self.inwards: list[Ticket] = []

    def send(self, tensors: Sequence[Tensor], homes: Sequence[Tensor]) -> Ticket:
        names = [home.data_ptr() for home in homes]
        assert not pending(self.inwards, names), "what is still to be read is overwritten"
        for home in homes:
            spoil(home)
        sources = [weakref.ref(tensor) for tensor in tensors]

        def make() -> None:
            for source, home in zip(sources, homes, strict=True):
                tensor = source()
                assert tensor is not None, "let go before it was home"
                home.copy_(tensor)

        self.outwards.append(Ticket(make, names))
        return self.outwards[-1]

    def fetch(self, homes: Sequence[Tensor], after: Sequence[Any] = ()) -> tuple[list[Tensor], Ticket]:
        names = [home.data_ptr() for home in homes]
        assert all(ticket in after for ticket in pending(self.outwards, names)), "read before it was home"
        tensors = [torch.empty_like(home) for home in homes]
        for tensor in tensors:
            spoil(tensor)
        wanted = [weakref.ref(tensor) for tensor in tensors]

        def make() -> None:
            for ticket in after:
                self.wait(ticket)
            for want, home in zip(wanted, homes, strict=True):
                tensor = want()
                assert tensor is not None, "its memory is another's by now"
                tensor.copy_(home)

        self.inwards.append(Ticket(make, names))
        return tensors, self.inwards[-1]

    def wait(self, ticket: Ticket) -> None:
        queue = self.outwards if ticket in self.outwards else self.inwards
        while not ticket.done:
            first = queue.pop(0)
            first.make()
            first.done = True


def pending(queue: Sequence[Ticket], names: Sequence[int]) -> list[Ticket]:
    """The copies of a queue from or to some homes."""
    return [ticket for ticket in queue if set(ticket.homes) & set(names)]


def spoil(tensor: Tensor) -> None:
    """Fill a tensor with what no number is."""
    if tensor.dtype == torch.float8_e4m3fn:
        tensor.view(torch.uint8).fill_(0x7F)
    else:
        tensor.fill_(float("nan"))
