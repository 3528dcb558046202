"""Where each token is in what the model predicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .shape import CallShape

PIXELS = 4
"""Latent pixels that a packed token holds (FLUX): two by two, each channel's together."""


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


LATENTS = Prediction(_latents_by_token, _over_latents)
"""(B, channels, height, width), cut into patches."""

PACKED = Prediction(
    by_token=lambda prediction, shape: prediction.unflatten(2, (-1, PIXELS)),
    over=lambda values, shape, prediction: values[..., None],
)
"""(B, tokens, channels x 4): FLUX packs two by two latent pixels into a token before the model sees them."""
