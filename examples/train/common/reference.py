"""Real pictures as features, so that distances between distributions can be measured without the data."""

import hashlib
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from .judge import Judge


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(path: Path, judge: Judge, clip: Path, images: np.ndarray, about: str) -> str:
    """Writes emoji-clip's features of real pictures, and returns the file's SHA-256.

    The file (safetensors) holds `features`, fp16, (pictures, 128): unit vectors, from which mean and covariance,
    kernel distances, precision and recall follow. Its metadata say what made them.

    Args:
        images (`np.ndarray`): uint8, (count, size, size, 3).
        about (`str`): which pictures they are.
    """
    features = judge.pictures(images).half().contiguous()
    metadata = {
        "about": about,
        "extractor": f"emoji-clip, picture tower, sha256 {digest(clip)}",
        "resize": "bicubic with antialiasing to 64 x 64, on uint8",
        "count": str(len(features)),
        "pictures": f"sha256 {hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()}",
    }
    save_file({"features": features}, path, metadata=metadata)
    path.chmod(0o644)
    return digest(path)
