"""Features of whole videos, for FVD (Unterthiner et al., arXiv 1812.01717) with an I3D that the user names.

FVD is `fid(Moments.of(extract(extractor, as_videos(samples))), reference, metric=FVD)`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from toca.eval.metrics.errors import brief
from toca.eval.metrics.pictures import as_pictures
from toca.eval.metrics.tags import ExtractorTag, file_digest
from toca.eval.metrics.torchscript import refuse_torchscript

SIZE = 224
FEATURES_SWITCH = "return_features"


def as_videos(samples: np.ndarray) -> Tensor:
    """(N, frames, height, width, 3), uint8, to (N, frames, 3, height, width), uint8."""
    return as_pictures(samples).unflatten(0, samples.shape[:2])


class VideoExtractor:
    """Any network that sees videos.

    Args:
        network (`Callable`): Takes (N, 3, frames, 224, 224), float32 in -1..1; returns (N, dimension).
        name (`str`): What tags call it.
        weights (`str`): SHA-256 of its file.
        frames (`int`): Of every video; FVD compares videos of one length only.
        device (`torch.device`): Where the network is.

    Raises:
        ValueError: If it does not return one vector a video.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        name: str,
        weights: str,
        frames: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self._network, self._frames, self._device = network, frames, device
        features = self._features(torch.zeros(1, frames, 3, SIZE, SIZE, dtype=torch.uint8))
        if features.ndim != 2:
            raise ValueError(f"{name} must return (N, dimension) for N videos, got {tuple(features.shape)} for one.")
        resize = f"bilinear to {SIZE} x {SIZE}, on float; {frames} frames"
        self.tag = ExtractorTag(name, weights, resize, features.shape[1])

    def __call__(self, videos: Tensor) -> Tensor:
        """(N, frames, 3, height, width), uint8, to (N, dimension), float32 on the CPU.

        Raises:
            ValueError: If they are no such videos, or have another number of frames.
        """
        if videos.ndim != 5 or videos.shape[1:3] != (self._frames, 3) or videos.dtype != torch.uint8:
            wanted = f"a uint8 tensor of (N, {self._frames}, 3, height, width)"
            raise ValueError(f"{self.tag.name} takes {wanted}, got {videos.dtype} of {tuple(videos.shape)}.")
        return self._features(videos)

    @torch.no_grad()
    def _features(self, videos: Tensor) -> Tensor:
        frames = videos.flatten(0, 1).to(self._device).float() / 127.5 - 1
        frames = F.interpolate(frames, (SIZE, SIZE), mode="bilinear", align_corners=False)
        return self._network(frames.unflatten(0, videos.shape[:2]).transpose(1, 2)).float().cpu()


def i3d(
    path: Path, frames: int, device: torch.device | str = "cpu", trust_torchscript: bool = False
) -> VideoExtractor:
    """The extractor of a TorchScript file, such as the `i3d_torchscript.pt` of StyleGAN-V.

    Args:
        path (`Path`): The file. Where its forward has a switch `return_features`, as that of StyleGAN-V, it is set.
        frames (`int`): Of every video.
        device (`torch.device`): Where to compute.
        trust_torchscript (`bool`): Whether to run such a file, which is a program of its author's.

    Raises:
        ValueError: If it is no TorchScript file, is not trusted, or does not return one vector a video.
        OSError: If it cannot be read.
    """
    refuse_torchscript(path, trust_torchscript)
    weights = file_digest(path)
    try:
        module = torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError as error:
        raise ValueError(f"{path} is no TorchScript file: {brief(error)}.") from error
    return VideoExtractor(_features_of(module), path.stem, weights, frames, device)


def _features_of(module: Any) -> Callable[[Tensor], Tensor]:
    switches = {argument.name for argument in module.forward.schema.arguments}
    if FEATURES_SWITCH not in switches:
        return module
    return lambda videos: module(videos, return_features=True)
