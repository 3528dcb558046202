"""The features of a set of pictures: extracted on many ranks, saved, and put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from toca.eval.metrics.extractors import Extractor
from toca.eval.metrics.tags import ExtractorTag, check_same
from toca.files.writing import atomic_path

BATCH = 64


@dataclass(frozen=True)
class Features:
    """Features of pictures.

    Args:
        tag (`ExtractorTag`): What made them.
        values (`Tensor`): (n, dimension), float32.
        index (`Tensor`): (n,), int64: the number of each picture in the whole set, in ascending order.
    """

    tag: ExtractorTag
    values: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def save(self, path: Path) -> None:
        """Write a safetensors file, whole or not at all; it can serve as a reference as well.

        Raises:
            OSError: If it cannot be written.
        """
        metadata = {**self.tag.metadata(), "count": str(len(self))}
        with atomic_path(path) as temporary:
            save_file({"features": self.values.contiguous(), "index": self.index}, temporary, metadata=metadata)


def extract(extractor: Extractor, inputs: Tensor, index: Sequence[int] | None = None, batch: int = BATCH) -> Features:
    """The features of pictures, or of videos.

    Args:
        extractor (`Extractor`): The network.
        inputs (`Tensor`): (n, 3, height, width), uint8; or what else the extractor takes.
        index (`Sequence[int]`, *optional*): The number of each in the whole set; 0, 1, ... if not given.
        batch (`int`): How many at a time.

    Raises:
        ValueError: If the extractor does not take them or makes no numbers of them, or two have one number.
    """
    # A rank may have nothing to do, and networks do not take batches of nothing.
    values = [torch.empty(0, extractor.tag.dimension)]
    values += [extractor(part) for part in inputs.split(batch) if len(part)]
    numbers = torch.arange(len(inputs)) if index is None else torch.as_tensor(index, dtype=torch.int64)
    return _sorted(extractor.tag, torch.cat(values), numbers)


def merge(parts: Sequence[Features]) -> Features:
    """The parts of a set, as many ranks made them, in the order of the pictures' numbers: the same for any split.

    Raises:
        DifferentTags: If they were not extracted alike.
        ValueError: If there is no part, or a picture is in two.
    """
    if not parts:
        raise ValueError("There are no features to put together: extract some first.")
    for part in parts[1:]:
        check_same(parts[0].tag, part.tag)
    values = torch.cat([part.values for part in parts])
    return _sorted(parts[0].tag, values, torch.cat([part.index for part in parts]))


def load_features(path: Path) -> Features:
    """Read what `Features.save` wrote, or the `reference.safetensors` of a pipeline, which has no numbers.

    Raises:
        ValueError: If it is no such file; it says why.
        OSError: If it cannot be read.
    """
    tensors, metadata = read_tensors(path)
    values = tensors.get("features")
    if values is None or values.ndim != 2:
        raise ValueError(f"{path} holds no `features` of (pictures, dimension).")
    try:
        tag = ExtractorTag.of_metadata(metadata, values.shape[1])
    except ValueError as error:
        raise ValueError(f"{path} cannot be compared with anything: {error}.") from error
    return _sorted(tag, values.float(), tensors.get("index", torch.arange(len(values))))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file.

    Raises:
        ValueError: If it is no such file.
        OSError: If it cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file: {error}.") from error


def _sorted(tag: ExtractorTag, values: Tensor, numbers: Tensor) -> Features:
    if len(numbers) != len(values):
        raise ValueError(f"{len(values)} pictures need as many numbers, got {len(numbers)}.")
    index, order = numbers.sort()
    twice = index[1:][index[1:] == index[:-1]]
    if len(twice):
        raise ValueError(f"Picture {int(twice[0])} is there twice: count every picture once.")
    if len(bad := index[~values[order].isfinite().all(1)]):
        raise ValueError(f"Picture {int(bad[0])} has features that are no numbers: look at it, and at {tag.name}.")
    return Features(tag, values[order], index)
