"""Where a sample's noise comes from: from what it is, and never from when, where or with whom it is made."""

from __future__ import annotations

import hashlib

import torch


def noise_seed(run_seed: int, prompt_id: int, sample: int) -> int:
    """A seed of 63 bits that depends on these three numbers only, the same on every machine and in every version."""
    digest = hashlib.sha256(f"{run_seed}/{prompt_id}/{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generators(run_seed: int, keys: list[tuple[int, int]]) -> list[torch.Generator]:
    """CPU generators, one for each (prompt id, sample index).

    diffusers draws a sample's noise from its own generator of such a list, so that it is the same in any batch and
    on any device.
    """
    return [torch.Generator("cpu").manual_seed(noise_seed(run_seed, *key)) for key in keys]
