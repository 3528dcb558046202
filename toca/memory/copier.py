"""Copies between the device that computes and the machine's memory, beside what is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..kernels.sending import has_streams


class Copier:
    """Makes copies at once, each in memory of its own: what is read back is never what was written.

    What has been copied is told by a ticket, to be waited for before the copy is read, and before what it was made
    of is let go; here there is nothing to wait for.

    Args:
        device (`torch.device`): That computes.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def home(self, tensor: torch.Tensor) -> torch.Tensor:
        """Room in the machine's memory for a tensor like this one."""
        return torch.empty_like(tensor, device="cpu")

    def send(self, tensors: Sequence[torch.Tensor], homes: Sequence[torch.Tensor]) -> Any:
        """Copy tensors of the device to their homes; the ticket."""
        for tensor, home in zip(tensors, homes, strict=True):
            home.copy_(tensor)
        return None

    def fetch(self, homes: Sequence[torch.Tensor], after: Sequence[Any] = ()) -> tuple[list[torch.Tensor], Any]:
        """New tensors on the device with what is at home, and the ticket.

        Args:
            homes (`Sequence[torch.Tensor]`): In the machine's memory.
            after (`Sequence`): Tickets of copies that may still write there.
        """
        tensors = [torch.empty_like(home, device=self.device) for home in homes]
        for tensor, home in zip(tensors, homes, strict=True):
            tensor.copy_(home)
        return tensors, None

    def wait(self, ticket: Any) -> None:
        """Have what is computed from now on wait for a copy."""


class StreamCopier(Copier):
    """Copies on two streams beside that which computes, one for each direction; nobody waits for the device.

    Every tensor on the device is of the memory of the stream that computes, which waits for a copy before the tensor
    is read or let go. So the memory is free for another tensor as soon as its holder drops it, and there are never
    more than those that are held; with `record_stream` it would be free only when the device has come so far, by when
    the machine may have asked for a whole step's.

    Args:
        device (`torch.device`): That computes.
        api (module, *optional*): With `Stream`, `stream` and `current_stream`, such as `torch.cuda`; that of the
            device by default.
    """

    def __init__(self, device: torch.device, api: Any = None) -> None:
        super().__init__(device)
        self._api = torch.get_device_module(device) if api is None else api
        self._outwards, self._inwards = self._api.Stream(device=device), self._api.Stream(device=device)

    def home(self, tensor: torch.Tensor) -> torch.Tensor:
        # Only from and to memory that is pinned a copy goes on beside what is computed.
        return torch.empty_like(tensor, device="cpu", pin_memory=True)

    def send(self, tensors: Sequence[torch.Tensor], homes: Sequence[torch.Tensor]) -> Any:
        written = self._computing().record_event()
        with self._api.stream(self._outwards):
            self._outwards.wait_event(written)
            for tensor, home in zip(tensors, homes, strict=True):
                home.copy_(tensor, non_blocking=True)
            return self._outwards.record_event()

    def fetch(self, homes: Sequence[torch.Tensor], after: Sequence[Any] = ()) -> tuple[list[torch.Tensor], Any]:
        tensors = [torch.empty_like(home, device=self.device) for home in homes]
        # Whoever had this memory before is done with it when the computing stream has come here.
        free = self._computing().record_event()
        with self._api.stream(self._inwards):
            for event in (free, *after):
                self._inwards.wait_event(event)
            for tensor, home in zip(tensors, homes, strict=True):
                tensor.copy_(home, non_blocking=True)
            return tensors, self._inwards.record_event()

    def wait(self, ticket: Any) -> None:
        self._computing().wait_event(ticket)

    def _computing(self) -> Any:
        """The stream that computes now: a program may change it at any time."""
        return self._api.current_stream(self.device)


def copier_for(device: torch.device) -> Copier:
    """What copies from and to a device."""
    return StreamCopier(device) if has_streams(device) else Copier(device)
