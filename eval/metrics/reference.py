"""Reference statistics: what the features of real pictures are like, from a file whose SHA-256 stands in every result.

Three kinds of file are read:

- `features` of a safetensors file, as `toca.eval.metrics.features.Features.save` and `examples/train/reference.py`
  write them: good for every metric;
- `total` and `outer` of a safetensors file, as `toca.eval.metrics.moments.Moments.save` writes them: good for FID;
- `mu` and `sigma` of an .npz file, as pytorch-fid writes them and as ADM's reference batches hold them: good for FID.
  Such a file does not say what made its features, so whoever reads it must.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from toca.eval.metrics.features import Features, load_features, read_tensors
from toca.eval.metrics.moments import Gaussian, Moments, load_moments
from toca.eval.metrics.tags import ExtractorTag, check_same, file_digest


@dataclass(frozen=True)
class Reference:
    """What samples are compared with.

    Args:
        tag (`ExtractorTag`): What made the features.
        sha256 (`str`): Of the file.
        gaussian (`Gaussian`): Mean and covariance.
        features (`Features` or `None`): The features themselves, where the file holds them.
    """

    tag: ExtractorTag
    sha256: str
    gaussian: Gaussian
    features: Features | None


def load_reference(path: Path, tag: ExtractorTag | None = None, sha256: str | None = None) -> Reference:
    """Read reference statistics.

    Args:
        path (`Path`): The file, .safetensors or .npz.
        tag (`ExtractorTag`, *optional*): What made the features. An .npz file needs it; of another it must be true.
        sha256 (`str`, *optional*): What the file must be.

    Raises:
        ValueError: If it is no such file, or another one than it must be; it says why.
        DifferentTags: If the file names another extractor than `tag`.
        OSError: If it cannot be read.
    """
    found = file_digest(path)
    if sha256 is not None and found != sha256:
        raise ValueError(f"{path} has the SHA-256 {found}, expected {sha256}: get the right file, or change the pin.")
    if path.suffix == ".npz":
        return _of_npz(path, tag, found)
    reference = _of_safetensors(path, found)
    if tag is not None:
        check_same(tag, reference.tag)
    return reference


def _of_safetensors(path: Path, sha256: str) -> Reference:
    if "outer" in read_tensors(path)[0]:
        moments = load_moments(path)
        return Reference(moments.tag, sha256, moments.gaussian(), None)
    features = load_features(path)
    return Reference(features.tag, sha256, Moments.of(features).gaussian(), features)


def _of_npz(path: Path, tag: ExtractorTag | None, sha256: str) -> Reference:
    if tag is None:
        raise ValueError(f"{path} does not say what made its features: name the extractor that did.")
    mean, covariance = _statistics(path)
    if mean.shape != (tag.dimension,) or covariance.shape != (tag.dimension, tag.dimension):
        raise ValueError(
            f"{path} holds `mu` of {mean.shape} and `sigma` of {covariance.shape}, "
            f"not those of {tag.dimension} features, which {tag.name} has."
        )
    return Reference(tag, sha256, Gaussian(torch.from_numpy(mean), torch.from_numpy(covariance), None), None)


def _statistics(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["mu"].astype(np.float64), file["sigma"].astype(np.float64)
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} holds no `mu` and `sigma`: {error}.") from error
