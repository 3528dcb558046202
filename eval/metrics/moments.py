"""Mean and covariance of features from additive states: sums in float64, which merge from any number of ranks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from toca.eval.metrics.features import Features, read_tensors
from toca.eval.metrics.tags import ExtractorTag, check_same
from toca.files.writing import atomic_path


@dataclass(frozen=True)
class Gaussian:
    """A mean and a covariance.

    Args:
        mean (`Tensor`): (d,), float64.
        covariance (`Tensor`): (d, d), float64, unbiased.
        count (`int` or `None`): Of how many pictures; `None` where a file does not say.
    """

    mean: Tensor
    covariance: Tensor
    count: int | None


@dataclass(frozen=True)
class Moments:
    """Sums over features. Those of two shards add up to those of both together.

    Args:
        tag (`ExtractorTag`): What made the features.
        count (`int`): Of how many pictures, n.
        total (`Tensor`): (d,), float64: the sum of the features.
        outer (`Tensor`): (d, d), float64: the sum of their outer products.
    """

    tag: ExtractorTag
    count: int
    total: Tensor
    outer: Tensor

    @staticmethod
    def of(features: Features) -> Moments:
        """The sums over these features."""
        values = features.values.double()
        return Moments(features.tag, len(values), values.sum(0), values.T @ values)

    def __add__(self, other: Moments) -> Moments:
        """The sums over both.

        Raises:
            DifferentTags: If they were not extracted alike.
        """
        check_same(self.tag, other.tag)
        return Moments(self.tag, self.count + other.count, self.total + other.total, self.outer + other.outer)

    def gaussian(self) -> Gaussian:
        """Mean and covariance.

        Raises:
            ValueError: If there are fewer than two pictures.
        """
        if self.count < 2:
            raise ValueError(f"A covariance needs at least 2 pictures, got {self.count}.")
        mean = self.total / self.count
        covariance = (self.outer - self.count * torch.outer(mean, mean)) / (self.count - 1)
        return Gaussian(mean, covariance, self.count)

    def save(self, path: Path) -> None:
        """Write a safetensors file, whole or not at all.

        Raises:
            OSError: If it cannot be written.
        """
        tensors = {"total": self.total.contiguous(), "outer": self.outer.contiguous()}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={**self.tag.metadata(), "count": str(self.count)})


def load_moments(path: Path) -> Moments:
    """Read what `Moments.save` wrote.

    Raises:
        ValueError: If it is no such file; it says why.
        OSError: If it cannot be read.
    """
    tensors, metadata = read_tensors(path)
    try:
        total, outer = tensors["total"], tensors["outer"]
        return Moments(ExtractorTag.of_metadata(metadata, len(total)), int(metadata["count"]), total, outer)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} holds no sums of features: {error}.") from error
