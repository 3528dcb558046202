"""What the arguments of one transformer call are drawn from: a step, the samples in the call, and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from zlib import crc32

import torch
from torch import Tensor

STEPS = 8
"""Steps of a generation; the step after the last one is the first of the next."""
TEXT = 5
GRID = (4, 6)
"""Rows and columns of image tokens: not square, so that a mistaken order shows."""
TOKENS = GRID[0] * GRID[1]
FRAMES = 3


@dataclass(frozen=True)
class Moment:
    """One call. What a sample is given hangs on the sample's number, the step and a name alone, so that a row of a
    batch is what it would be by itself.

    Args:
        step (`int`): Of `STEPS`.
        samples (`tuple[int, ...]`): Numbers of the samples, one a row.
        still (`bool`): Whether every step is given the same. Timesteps then move by next to nothing, which tells the
            steps apart and does not change what a model makes of them: best seen in float64.
        dtype (`torch.dtype`): Of all floating point values.
    """

    step: int = 0
    samples: tuple[int, ...] = (0, 1)
    still: bool = False
    dtype: torch.dtype = torch.float32

    @property
    def batch(self) -> int:
        return len(self.samples)

    def latents(self, *shape: int, of: str = "latents") -> Tensor:
        """(B, *shape): on the way from one noise to another, a little further in each step."""
        angle = 0.0 if self.still else self._place / STEPS * math.pi / 3
        return math.cos(angle) * self.given(*shape, of=of) + math.sin(angle) * self.given(*shape, of=f"{of}, later")

    def given(self, *shape: int, of: str = "text") -> Tensor:
        """(B, *shape): a condition, the same in all steps."""
        return torch.stack([_noise(shape, f"{of} {sample}") for sample in self.samples]).to(self.dtype)

    def common(self, *shape: int, of: str = "common") -> Tensor:
        """(*shape): what all samples share, such as positions."""
        return _noise(shape, of).to(self.dtype)

    def repeated(self, values: Tensor) -> Tensor:
        """(B, ...): the same for every sample."""
        return values.expand(self.batch, *values.shape).clone()

    def full(self, value: float, *shape: int) -> Tensor:
        """(B, *shape) of one number."""
        return torch.full((self.batch, *shape), value, dtype=self.dtype)

    def ones(self, *shape: int, dtype: torch.dtype = torch.bool) -> Tensor:
        """(B, *shape): a mask that hides nothing."""
        return torch.ones(self.batch, *shape, dtype=dtype)

    def numbers(self, *shape: int, below: int, of: str = "numbers") -> Tensor:
        """(B, *shape) of whole numbers from 0, drawn for each sample."""
        rows = [torch.randint(below, shape, generator=_generator(f"{of} {sample}")) for sample in self.samples]
        return torch.stack(rows)

    def time(self, *shape: int, scale: float = 1000.0) -> Tensor:
        """(B, *shape): timesteps that fall from `scale` towards 0."""
        # From above, for some models cut fractions off.
        remaining = 0.04 * (1 + self._stir(STEPS - self._place)) if self.still else 0.96 - 0.12 * self._place
        return self.full(scale * remaining, *shape)

    def rising_time(self, *shape: int) -> Tensor:
        """The same from 0 towards 1, for models that count from noise to picture."""
        return self.full(0.04 * (1 + self._stir(self._place)) if self.still else 0.04 + 0.12 * self._place, *shape)

    @property
    def _place(self) -> int:
        """Of the step in its generation."""
        return self.step % STEPS

    def _stir(self, times: int) -> float:
        """How far a timestep has moved that stands still, relative to its size: by the smallest number there is in
        float32, and by one that is not lost in sums in float64."""
        return times * max(torch.finfo(self.dtype).eps, 1e-9)


def _generator(seed: str) -> torch.Generator:
    return torch.Generator().manual_seed(crc32(seed.encode()))


def _noise(shape: tuple[int, ...], seed: str) -> Tensor:
    return torch.randn(shape, generator=_generator(seed))


def positions(*sizes: int, axes: int, first: int = 0) -> Tensor:
    """(product of `sizes`, `axes`): where each token of a grid is, in the last axes; the first ones are `first`."""
    grid = torch.meshgrid(*(torch.arange(size) for size in sizes), indexing="ij")
    where = torch.stack(grid, dim=-1).flatten(0, -2).float()
    leading = torch.full((len(where), axes - len(sizes)), float(first))
    return torch.cat([leading, where], dim=1)
