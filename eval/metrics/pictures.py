"""Pictures as networks want them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


def as_pictures(samples: np.ndarray) -> Tensor:
    """The frames of all samples as pictures of their own.

    Args:
        samples (`np.ndarray`): (N, frames, height, width, 3), uint8, as `Gallery.load` returns them.

    Returns:
        `Tensor`: (N * frames, 3, height, width), uint8; the frames of a sample follow each other.

    Raises:
        ValueError: If it is no such array.
    """
    check_samples(samples)
    return torch.from_numpy(np.ascontiguousarray(samples)).flatten(0, 1).permute(0, 3, 1, 2)


def check_samples(samples: np.ndarray) -> None:
    """Raises ValueError unless `samples` is (N, frames, height, width, 3), uint8."""
    if samples.ndim != 5 or samples.shape[-1] != 3 or samples.dtype != np.uint8:
        wanted = "a uint8 array of (samples, frames, height, width, 3)"
        raise ValueError(f"Samples must be {wanted}, got {samples.dtype} of {samples.shape}.")


def check_prompts(metric: str, samples: np.ndarray, prompts: Sequence[str]) -> None:
    """Raises ValueError unless there is one prompt a sample."""
    if len(prompts) != len(samples):
        raise ValueError(f"{metric} needs one prompt a sample, got {len(prompts)} for {len(samples)} samples.")


def levels(samples: np.ndarray) -> np.ndarray:
    """Pictures on the scale of 8 bits, in float64: exact, whether they were rounded to it or not.

    Args:
        samples (`np.ndarray`): Any shape; uint8, or float32 in 0..1.
    """
    return samples.astype(np.float64) if samples.dtype == np.uint8 else samples.astype(np.float64) * 255


def check_pair(samples: np.ndarray, references: np.ndarray) -> None:
    """Raises ValueError unless both are samples of one shape, as 8-bit files have them or before they were rounded:
    (N, frames, height, width, 3), both uint8, or both float32 in 0..1."""
    for each in (samples, references):
        if each.dtype != np.float32 or samples.dtype != references.dtype or each.ndim != 5 or each.shape[-1] != 3:
            check_samples(each)
    if samples.shape != references.shape:
        raise ValueError(f"Samples of {samples.shape} cannot be compared with {references.shape}: give the same ones.")


def check_pictures(images: Tensor) -> None:
    """Raises ValueError unless `images` is (N, 3, height, width), uint8."""
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
        raise ValueError(
            f"Pictures must be a uint8 tensor of (N, 3, height, width), got {images.dtype} of {tuple(images.shape)}."
        )


def as_pil(images: Tensor) -> list[Image.Image]:
    """(N, 3, height, width), uint8, to N pictures."""
    return [Image.fromarray(array) for array in images.permute(0, 2, 3, 1).contiguous().cpu().numpy()]


def resize_label(size: int) -> str:
    """How `resized` is named in tags, and in the reference files that come with the pipelines."""
    return f"bicubic with antialiasing to {size} x {size}, on uint8"


def resized(images: Tensor, size: int) -> Tensor:
    """(N, 3, height, width) to (N, 3, size, size), uint8; the whole picture, without cropping."""
    if images.shape[-2:] == (size, size):
        return images
    small = F.interpolate(images.float(), (size, size), mode="bicubic", antialias=True)
    return small.clamp(0, 255).round().to(torch.uint8)
