"""What a figure was computed with. Figures with different tags are never compared."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

NO_REFERENCE = "none"
CHUNK_BYTES = 1 << 20


class DifferentTags(ValueError):
    """Two figures that were not computed alike were to be compared or merged."""


@dataclass(frozen=True)
class ExtractorTag:
    """What made features.

    Args:
        name (`str`): The network and the layer.
        weights (`str`): SHA-256 of its weights, 64 hexadecimal digits.
        resize (`str`): How pictures were brought to its size.
        dimension (`int`): Features of a picture.
    """

    name: str
    weights: str
    resize: str
    dimension: int

    def __str__(self) -> str:
        return f"{self.name} ({self.dimension}-d, {self.resize}, weights {self.weights[:12]})"

    def metadata(self) -> dict[str, str]:
        """The tag as a safetensors file keeps it; the dimension is that of the tensors."""
        return {"extractor": f"{self.name}, sha256 {self.weights}", "resize": self.resize}

    @staticmethod
    def of_metadata(metadata: Mapping[str, str], dimension: int) -> ExtractorTag:
        """The tag of a file.

        Raises:
            ValueError: If the metadata do not say what made the features.
        """
        name, found, weights = metadata.get("extractor", "").rpartition(", sha256 ")
        if not found or "resize" not in metadata:
            raise ValueError("its metadata do not name `extractor` with its sha256 and `resize`")
        return ExtractorTag(name, weights, metadata["resize"], dimension)


@dataclass(frozen=True)
class ResultTag:
    """What a figure of a whole set of pictures was computed with.

    Args:
        extractor (`ExtractorTag`): What made the features.
        reference (`str`): SHA-256 of the file of reference statistics; "none" where there is no reference.
        samples (`int`): Number of pictures, or of videos.
    """

    extractor: ExtractorTag
    reference: str
    samples: int

    def __str__(self) -> str:
        return f"{self.extractor}, reference {self.reference[:12]}, n = {self.samples}"


def check_same(ours: Any, theirs: Any) -> None:
    """Compare two tags, which are dataclasses of one kind.

    Raises:
        DifferentTags: If they are not equal; it names what differs.
    """
    if ours == theirs:
        return
    if type(ours) is not type(theirs):
        raise DifferentTags(f"A figure of {ours} cannot be compared with one of {theirs}.")
    pairs = {field.name: (getattr(ours, field.name), getattr(theirs, field.name)) for field in fields(ours)}
    differing = "; ".join(f"{name}: {a} and {b}" for name, (a, b) in pairs.items() if a != b)
    raise DifferentTags(f"What was not computed alike cannot be put together ({differing}): compute both alike.")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def weights_digest(module: nn.Module) -> str:
    """SHA-256 of a module's weights: names, shapes and values, in the order of the names.

    Floating point counts by its value as float32, so that weights stored in half precision have one digest whatever a
    device computes them in.
    """
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        plain = value.detach().cpu()
        plain = (plain.float() if plain.is_floating_point() else plain).contiguous()
        digest.update(f"{name} {tuple(plain.shape)} {plain.dtype} ".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
