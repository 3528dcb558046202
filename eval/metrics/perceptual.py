"""Perceptual distances: how far apart two pictures are in the features of a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

CHUNK = 16  # pictures at a time


class PerceptualDistance(ABC):
    """The distance of LPIPS (Zhang et al., arXiv 1801.03924), from the features of some network.

    At several depths the features are scaled to unit length over the channels; the squared differences are weighted
    over the channels and averaged over the positions; the depths are put together.
    """

    name: str
    """What the columns say."""
    source: str
    """Which weights, for the record."""

    @abstractmethod
    def features(self, images: Tensor) -> Sequence[Tensor]:
        """(N, 3, height, width) in -1..1 to maps of (N, channels, h, w), one a depth."""

    @abstractmethod
    def combine(self, differences: list[Tensor]) -> Tensor:
        """Squared differences (N, channels, h, w), one a depth, to distances (N,)."""

    @torch.no_grad()
    def __call__(self, images: Tensor, references: Tensor) -> Tensor:
        """The distance of each pair.

        Args:
            images, references (`Tensor`): (N, 3, height, width), uint8, or float32 in 0..1.

        Returns:
            `Tensor`: (N,), float32 on the CPU; 0 for identical pictures.
        """
        parts = []
        for pair in zip(images.split(CHUNK), references.split(CHUNK), strict=True):
            ours, theirs = (self.features(_from_minus_one(part)) for part in pair)
            squares = [(_unit(a) - _unit(b)).square() for a, b in zip(ours, theirs, strict=True)]
            parts.append(self.combine(squares).float().cpu())
        return torch.cat(parts)


def _from_minus_one(images: Tensor) -> Tensor:
    """uint8, or float32 in 0..1, to float32 in -1..1."""
    return images * 2 - 1 if images.is_floating_point() else images.float() / 127.5 - 1


def _unit(features: Tensor) -> Tensor:
    """Length 1 over the channels, as in the `lpips` package."""
    features = features.float()
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)


class VaeDistance(PerceptualDistance):
    """A stand-in for where the weights of LPIPS are not at hand: the features are those of the pipeline's own VAE
    encoder, after each of its blocks, and all channels and depths weigh the same.

    It is no LPIPS: it has not been fitted to what people see, and its numbers compare within one pipeline only.

    Args:
        vae (`AutoencoderKL`): With an `encoder` of `down_blocks` and a `mid_block`.
    """

    name = "VAE-LPIPS"
    source = "encoder of the pipeline's own VAE"

    def __init__(self, vae: nn.Module) -> None:
        self._vae = vae

    def features(self, images: Tensor) -> Sequence[Tensor]:
        encoder: Any = self._vae.encoder
        maps: list[Tensor] = []
        blocks = [*encoder.down_blocks, encoder.mid_block]
        hooks = [block.register_forward_hook(lambda module, inputs, output: maps.append(output)) for block in blocks]
        try:
            parameter = next(encoder.parameters())
            encoder(images.to(parameter.device, parameter.dtype))
        finally:
            for hook in hooks:
                hook.remove()
        return maps

    def combine(self, differences: list[Tensor]) -> Tensor:
        return torch.stack([difference.sum(1).mean((1, 2)) for difference in differences]).mean(0)


def vae_distance(pipe: Any) -> VaeDistance | None:
    """The stand-in of a pipeline; `None` if its VAE has no encoder of blocks."""
    encoder = getattr(getattr(pipe, "vae", None), "encoder", None)
    return VaeDistance(pipe.vae) if hasattr(encoder, "down_blocks") and hasattr(encoder, "mid_block") else None
