"""What is added to a score: the staleness bonus, the spatial bonus (ToCa, section 3.3: s3 and s4); and chance."""

from __future__ import annotations

from zlib import crc32

import torch
import torch.nn.functional as F


def spatial_bonus(score: torch.Tensor, grid: tuple[int, int], patch: int, weight: float) -> torch.Tensor:
    """Multiply the best token of each patch x patch square of the grid by 1 + weight (ToCa, section 3.3: s4).

    Args:
        score (`torch.Tensor`): (..., rows * columns).
        grid (`tuple[int, int]`): Rows and columns. Where `patch` does not divide them, the squares at the lower and
            right border are smaller.
        patch (`int`): Side of a square, in tokens.
        weight (`float`): beta.
    """
    rows, columns = grid
    padding = (0, -columns % patch, 0, -rows % patch)
    padded = F.pad(score.reshape(-1, rows, columns), padding, value=float("-inf"))
    squares = padded.unflatten(2, (-1, patch)).unflatten(1, (-1, patch)).transpose(2, 3)
    flat = squares.flatten(3)
    factor = torch.ones_like(flat).scatter_(-1, flat.argmax(dim=-1, keepdim=True), 1 + weight)
    factor = factor.view(squares.shape).transpose(2, 3).flatten(3).flatten(1, 2)
    return score * factor[:, :rows, :columns].reshape(score.shape)


def best_tokens(score: torch.Tensor, count: int) -> torch.Tensor:
    """Indices (..., count) of the highest scores, best first."""
    return score.topk(count, dim=-1).indices


def random_score(seed: int, tokens: int, key: tuple[int, ...]) -> torch.Tensor:
    """Uniform scores (tokens,) on CPU, the same for every sample: no sample depends on its batch-mates."""
    generator = torch.Generator().manual_seed(crc32(repr((seed, tokens, *key)).encode()))
    return torch.rand(tokens, generator=generator)
