"""What the host makes, on the device that computes, without a wait."""

from __future__ import annotations

import torch

WITHOUT_STREAMS = ("cpu", "mps", "meta")
"""Kinds of devices whose copies are made at once: mps shares the machine's memory, and the CPU is in it."""


def has_streams(device: torch.device) -> bool:
    """Whether copies from and to a device are made while it computes and the host goes on."""
    return device.type not in WITHOUT_STREAMS


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The same numbers on a device; the tensor itself where it is there already.

    A copy from ordinary memory makes the host wait until all that was queued before it has run. One from pinned
    memory is queued like an operator, and torch keeps that memory until it is through.

    Args:
        tensor (`torch.Tensor`): Made on the CPU.
        device (`torch.device`): Where it is wanted.
    """
    if not has_streams(device):
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
