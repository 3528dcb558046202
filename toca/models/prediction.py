"""Where each token is in what the model predicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .shape import CallShape


@dataclass(frozen=True)
class Prediction:
    """How a family lays out its prediction.

    Args:
        by_token (`Callable`): `(prediction, shape) -> (B, tokens, channels, latent pixels of a token)`.
        over (`Callable`): `(one value a token (B, tokens), shape, prediction) -> what broadcasts to the prediction`.
    """

    by_token: Callable[[torch.Tensor, CallShape], torch.Tensor]
    over: Callable[[torch.Tensor, CallShape, torch.Tensor], torch.Tensor]


def _latents_by_token(prediction: torch.Tensor, shape: CallShape) -> torch.Tensor:
    rows, columns = shape.known_grid
    patches = prediction.unflatten(3, (columns, -1)).unflatten(2, (rows, -1))
    return patches.permute(0, 2, 4, 1, 3, 5).flatten(4).flatten(1, 2)


def _over_latents(values: torch.Tensor, shape: CallShape, prediction: torch.Tensor) -> torch.Tensor:
    rows, columns = shape.known_grid
    height, width = prediction.shape[2] // rows, prediction.shape[3] // columns
    grid = values.view(-1, 1, rows, columns)
    return grid.repeat_interleave(height, dim=2).repeat_interleave(width, dim=3)


def _videos_by_token(prediction: torch.Tensor, shape: CallShape) -> torch.Tensor:
    rows, columns = shape.known_grid
    patches = prediction.unflatten(4, (columns, -1)).unflatten(3, (rows, -1)).unflatten(2, (shape.frames, -1))
    return patches.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(5).flatten(1, 3)


def _over_videos(values: torch.Tensor, shape: CallShape, prediction: torch.Tensor) -> torch.Tensor:
    sizes = (shape.frames, *shape.known_grid)
    grid = values.view(-1, 1, *sizes)
    for dim, size in enumerate(sizes, start=2):
        grid = grid.repeat_interleave(prediction.shape[dim] // size, dim=dim)
    return grid


LATENTS = Prediction(_latents_by_token, _over_latents)
"""(B, channels, height, width), cut into patches."""

VIDEO = Prediction(_videos_by_token, _over_videos)
"""(B, channels, frames, height, width), cut into patches of a frame or more; tokens run over columns, rows, frames."""


def _videos_with_channels_at(dim: int) -> Prediction:
    """The same with the channels at another place among the dimensions."""
    return Prediction(
        by_token=lambda prediction, shape: _videos_by_token(prediction.movedim(dim, 1), shape),
        over=lambda values, shape, prediction: _over_videos(values, shape, prediction.movedim(dim, 1)).movedim(1, dim),
    )


VIDEO_FRAMES_FIRST = _videos_with_channels_at(2)
"""(B, frames, channels, height, width): CogVideoX."""

VIDEO_CHANNELS_LAST = _videos_with_channels_at(4)
"""(B, frames, height, width, channels): Kandinsky 5."""


def _sounds_by_token(prediction: torch.Tensor, shape: CallShape) -> torch.Tensor:
    moments = -(-prediction.shape[2] // shape.frames)
    padded = F.pad(prediction, (0, moments * shape.frames - prediction.shape[2]))
    return padded.unflatten(2, (shape.frames, moments)).transpose(1, 2)


def _over_sounds(values: torch.Tensor, shape: CallShape, prediction: torch.Tensor) -> torch.Tensor:
    moments = -(-prediction.shape[2] // shape.frames)
    return values[:, None].repeat_interleave(moments, dim=2)[..., : prediction.shape[2]]


SOUND = Prediction(_sounds_by_token, _over_sounds)
"""(B, channels, moments), of which one or more make a token; the last token may be padded."""

SOUND_CHANNELS_LAST = Prediction(
    by_token=lambda prediction, shape: _sounds_by_token(prediction.transpose(1, 2), shape),
    over=lambda values, shape, prediction: _over_sounds(values, shape, prediction.transpose(1, 2)).transpose(1, 2),
)
"""(B, moments, channels)."""


def packed(pixels: int) -> Prediction:
    """(B, tokens, channels x `pixels`): latents that are packed into tokens before the model sees them, each channel's
    latent pixels together."""
    return Prediction(
        by_token=lambda prediction, shape: prediction.unflatten(2, (-1, pixels)),
        over=lambda values, shape, prediction: values[..., None],
    )


PACKED = packed(4)
"""Two by two latent pixels a token (FLUX, Qwen-Image)."""

SEQUENCE = packed(1)
"""One latent pixel a token (LTX)."""
