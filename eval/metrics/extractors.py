"""Networks that turn pictures into features, each with a tag that says all that the features depend on."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from toca.eval.metrics.pictures import check_pictures, resize_label, resized
from toca.eval.metrics.tags import ExtractorTag, weights_digest

RGB = tuple[float, float, float]


class Extractor(Protocol):
    """Turns pictures into features."""

    @property
    def tag(self) -> ExtractorTag:
        """What features depend on."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """(N, 3, height, width), uint8, to (N, dimension), float32 on the CPU.

        Raises:
            ValueError: If they are no such pictures.
        """


class ModuleExtractor:
    """Any network of your own.

    Args:
        module (`nn.Module`): Takes (N, 3, size, size), returns (N, dimension). It is put into eval mode.
        name (`str`): What tags call it.
        size (`int`): Pixels of a side of what it takes; pictures are resized by `toca.eval.metrics.pictures.resized`.
        mean, std (`tuple[float, float, float]`): Taken away from and divided by, for each channel in 0..1.
        weights (`str`, *optional*): SHA-256 of its file; of its parameters and buffers if not given.
        device (`torch.device`): Where to compute.

    Raises:
        ValueError: If it does not return one vector a picture.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str,
        size: int,
        mean: RGB = (0.0, 0.0, 0.0),
        std: RGB = (1.0, 1.0, 1.0),
        weights: str | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._module = module.eval().to(device)
        self._size = size
        self._mean, self._std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (mean, std))
        features = self._features(torch.zeros(1, 3, size, size, dtype=torch.uint8))
        if features.ndim != 2:
            raise ValueError(f"{name} must return (N, dimension) for N pictures, got {tuple(features.shape)} for one.")
        self.tag = ExtractorTag(name, weights or weights_digest(module), resize_label(size), features.shape[1])

    def __call__(self, images: Tensor) -> Tensor:
        check_pictures(images)
        return self._features(images)

    @torch.no_grad()
    def _features(self, images: Tensor) -> Tensor:
        x = resized(images.to(self._mean.device), self._size).float() / 255
        features: Any = self._module((x - self._mean) / self._std)
        return features.float().cpu()
