"""The machine's memory as the place of a cache: what a pass needs is brought to the device a block ahead, and what it
has renewed is taken away behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from .copier import Copier, copier_for


class Movable(Protocol):
    """What is kept of a quantity, on the device or away from it."""

    @property
    def device(self) -> torch.device:
        """Where it is read and written."""
        ...

    @property
    def at_hand(self) -> bool:
        """Whether all of it is on the device."""
        ...

    @property
    def homes(self) -> list[torch.Tensor]:
        """What lies in the machine's memory; none where nothing does."""
        ...

    @property
    def present(self) -> list[torch.Tensor]:
        """What is on the device."""
        ...

    def take_in(self, tensors: Sequence[torch.Tensor]) -> None:
        """Copies on the device of what is at home."""

    def put_away(self) -> None:
        """Nothing of it stays on the device; what has been written goes home before."""


@dataclass
class Traffic:
    """What has been moved in a generation, of all branches.

    Args:
        ahead (`int`): Quantities that were read and had been on their way since the block before.
        awaited (`int`): Quantities that were read and had not been asked for ahead: computing waits for the copy.
        sent (`int`): Quantities that were written and taken away.
        bytes (`int`): That were copied, both ways together.
        most (`int`): Bytes that were on the device at a time, at the most.
    """

    ahead: int = 0
    awaited: int = 0
    sent: int = 0
    bytes: int = 0
    most: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        """Of two generations, one after the other."""
        return Traffic(
            ahead=self.ahead + other.ahead,
            awaited=self.awaited + other.awaited,
            sent=self.sent + other.sent,
            bytes=self.bytes + other.bytes,
            most=max(self.most, other.most),
        )

    def __str__(self) -> str:
        reads = self.ahead + self.awaited
        return f"{self.bytes / 2**20:.2f} MiB copied, {self.ahead} of {reads} reads asked for ahead"


@dataclass(frozen=True)
class Stop:
    """A stage of a pass.

    Args:
        reads (`tuple[Movable, ...]`): What must be at hand before it.
        goes (`tuple[Movable, ...]`): What goes away behind it.
    """

    reads: tuple[Movable, ...] = ()
    goes: tuple[Movable, ...] = ()


@dataclass
class _Batch:
    """Copies on their way to the device, of one stage."""

    tensors: dict[Movable, list[torch.Tensor]] = field(default_factory=dict)
    tickets: list[tuple[Copier, Any]] = field(default_factory=list)


class Ram:
    """Brings and takes away what is kept of one transformer's features.

    On the device are at most what the stage that runs reads and has renewed, what the next one reads, and what the one
    before has renewed until it is home. What is read without having been asked for is brought at once.

    Args:
        make (`Callable`): The copier of a device.

    Attributes:
        traffic (`Traffic`): What is counted in.
    """

    def __init__(self, make: Callable[[torch.device], Copier] = copier_for) -> None:
        self._make = make
        # Of a model whose blocks are on several devices there are several.
        self._copiers: dict[torch.device, Copier] = {}
        self.traffic = Traffic()
        self._stops: Sequence[Stop] = ()
        self._coming = _Batch()
        self._there: dict[Movable, None] = {}
        self._leaving: list[list[torch.Tensor]] = []
        self._tickets: dict[Movable, tuple[Copier, Any]] = {}

    def copier(self, device: torch.device) -> Copier:
        """Who copies from and to a device."""
        if device not in self._copiers:
            self._copiers[device] = self._make(device)
        return self._copiers[device]

    # A pass.

    def expect(self, stops: Sequence[Stop]) -> None:
        """A pass begins: what its first stage reads is sent for."""
        self.clear()
        self._stops = stops
        self._send_for(0)

    def enter(self, stop: int) -> None:
        """A stage begins: what it reads is at hand, and what the next one reads is sent for."""
        self._receive(self._stops[stop].reads)
        self._send_for(stop + 1)
        self._note(self._stops[stop].goes)

    def leave(self, stop: int) -> None:
        """A stage has run: what it has renewed is taken away, and what the one before has renewed is let go."""
        goes = self._stops[stop].goes
        self._note(goes)
        self.settle()
        for each in goes:
            each.put_away()

    def settle(self) -> None:
        """What is on its way home is let go, once it is there."""
        for copier, ticket in self._tickets.values():
            copier.wait(ticket)
        self._tickets.clear()
        self._leaving.clear()

    def clear(self) -> None:
        """A pass has ended, or is given up: nothing is expected, and nothing stays on the device. What is computed
        next waits for the last stage's copies alone."""
        self._stops = ()
        self._drop_coming()
        for each in list(self._there):
            each.put_away()
        self.settle()

    # What is kept asks for it.

    def bring(self, each: Movable) -> None:
        """Have something at hand that is about to be read."""
        self._receive((each,))
        self._note((each,))

    def send_home(self, each: Movable, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Take tensors away, to where they have been before if they are alike; where they will be."""
        before, copier = each.homes, self.copier(each.device)
        homes = [
            before[i] if i < len(before) and _alike(before[i], tensor) else copier.home(tensor)
            for i, tensor in enumerate(tensors)
        ]
        self._tickets[each] = copier, copier.send(tensors, homes)
        self._leaving.append(list(tensors))
        self.traffic.sent += 1
        self.traffic.bytes += _bytes(tensors)
        return homes

    def gone(self, each: Movable) -> None:
        """Something is at hand no longer."""
        self._there.pop(each, None)

    def _receive(self, wanted: Iterable[Movable]) -> None:
        missing = [each for each in wanted if not each.at_hand and each.homes]
        ahead = sum(each in self._coming.tensors for each in missing)
        self.traffic.ahead += ahead
        self.traffic.awaited += len(missing) - ahead
        if ahead:
            self._arrive(self._coming)
            self._coming = _Batch()
        late = [each for each in missing if not each.at_hand]
        if late:
            self._arrive(self._fetched(late))

    def _arrive(self, batch: _Batch) -> None:
        for copier, ticket in batch.tickets:
            copier.wait(ticket)
        for each, tensors in batch.tensors.items():
            each.take_in(tensors)
            self._there[each] = None

    def _send_for(self, stop: int) -> None:
        if stop >= len(self._stops):
            return
        wanted = [each for each in self._stops[stop].reads if not each.at_hand and each.homes]
        wanted = [each for each in wanted if each not in self._coming.tensors]
        if wanted:
            self._drop_coming()
            self._coming = self._fetched(wanted)

    def _fetched(self, wanted: Sequence[Movable]) -> _Batch:
        batch = _Batch()
        for device in dict.fromkeys(each.device for each in wanted):
            copier, own = self.copier(device), [each for each in wanted if each.device == device]
            after = [self._tickets[each][1] for each in own if each in self._tickets]
            tensors, ticket = copier.fetch([home for each in own for home in each.homes], after)
            self.traffic.bytes += _bytes(tensors)
            batch.tickets.append((copier, ticket))
            following = iter(tensors)
            batch.tensors |= {each: [next(following) for _ in each.homes] for each in own}
        return batch

    def _drop_coming(self) -> None:
        """What was sent for is not read after all: its memory is free once the copy is made."""
        for copier, ticket in self._coming.tickets:
            copier.wait(ticket)
        self._coming = _Batch()

    def _note(self, goes: Iterable[Movable]) -> None:
        """Note what is on the device."""
        there = dict.fromkeys((*self._there, *goes))
        held = [*(each.present for each in there), *self._coming.tensors.values(), *self._leaving]
        self.traffic.most = max(self.traffic.most, sum(map(_bytes, held)))


def _alike(home: torch.Tensor, tensor: torch.Tensor) -> bool:
    """Whether a tensor goes where another one has been. What was made in inference mode is written in no other."""
    same = home.dtype == tensor.dtype and home.shape == tensor.shape and home.stride() == tensor.stride()
    return same and home.is_inference() == torch.is_inference_mode_enabled()


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
