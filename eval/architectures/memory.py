"""Whether a model's weights fit into memory, said before any are made."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable

import torch

from toca.eval.architectures import Component
from toca.eval.architectures.making import make_random

SHARE = 0.9
"""Of the free memory, what weights may take up: activations need room too."""
GIB = 2**30


def weight_bytes(components: Iterable[Component], scale: float, dtype: torch.dtype) -> int:
    """Bytes of parameters and buffers, from models on the meta device, which have none."""
    models = [make_random(component, scale, torch.device("meta"), dtype) for component in components]
    return sum(tensor.nbytes for model in models for tensor in [*model.parameters(), *model.buffers()])


def check_memory(
    name: str, components: list[Component], scale: float, device: torch.device, dtype: torch.dtype
) -> None:
    """Make sure that the weights of a model fit into a device's free memory.

    Raises:
        ValueError: If they do not; it names their size and the largest scale that fits.
    """
    free = free_bytes(device)
    if free is None:
        return
    needed = weight_bytes(components, scale, dtype)
    if needed <= SHARE * free:
        return
    fits = largest_scale(lambda smaller: weight_bytes(components, smaller, dtype), SHARE * free)
    way_out = f"the largest `--scale` that fits is {fits:g}" if fits else "not even `--scale 0.01` fits, so free some"
    raise ValueError(
        f"{name} at scale {scale:g} needs {needed / GIB:.1f} GiB for its weights in {str(dtype)[6:]}, but {device} "
        f"has {free / GIB:.1f} GiB free, of which a tenth is for activations: {way_out}."
    )


def largest_scale(bytes_at: Callable[[float], int], limit: float) -> float:
    """The largest scale, in hundredths, whose bytes are within the limit; 0 if none is."""
    return bisect.bisect_right(range(1, 101), limit, key=lambda hundredths: bytes_at(hundredths / 100)) / 100


def free_bytes(device: torch.device) -> int | None:
    """Free memory of a GPU, of the machine for a CPU; `None` where there is no telling."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    if device.type == "cpu":
        import psutil

        return psutil.virtual_memory().available
    return None
