"""What the host makes, on the device that computes, without a wait."""

from __future__ import annotations

import torch

WITH_STREAMS = ("cuda", "xpu")
"""Devices that copy from pinned memory while the host goes on."""


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The same numbers on a device; the tensor itself where it is there already.

    A copy from ordinary memory makes the host wait until all that was queued before it has run. One from pinned
    memory is queued like an operator, and torch keeps that memory until it is through.

    Args:
        tensor (`torch.Tensor`): Made on the CPU.
        device (`torch.device`): Where it is wanted.
    """
    if device.type not in WITH_STREAMS:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
