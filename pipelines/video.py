"""MP4 and GIF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from toca.writing import atomic_path

FRAMES_PER_SECOND = 8


def _imageio() -> Any:
    try:
        import imageio.v2
        import imageio_ffmpeg  # noqa: F401  (the MP4 writer of imageio)
    except ImportError as error:
        raise ImportError("Writing videos needs two more packages: pip install imageio imageio-ffmpeg.") from error
    return imageio.v2


def check_video_support() -> None:
    """Raise `ImportError`, which names the extra to install, if videos cannot be written."""
    _imageio()


def save_video(frames: list[Image.Image], path: Path) -> list[Path]:
    """Write an MP4 and a GIF of the same name.

    Args:
        frames (`list[PIL.Image.Image]`): RGB frames of one size, at least one.
        path (`Path`): its suffix is replaced.

    Raises:
        ImportError: if the packages of the `video` extra are missing.
        OSError: if a file cannot be written.
    """
    arrays = [np.asarray(frame.convert("RGB")) for frame in frames]
    return [_save_mp4(arrays, path.with_suffix(".mp4")), _save_gif(arrays, path.with_suffix(".gif"))]


def _save_mp4(frames: list[np.ndarray], path: Path) -> Path:
    # H.264 in the 4:2:0 format that every player knows wants even sides.
    padded = [np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), "edge") for frame in frames]
    with atomic_path(path) as temporary:
        _imageio().mimwrite(
            temporary, padded, format="FFMPEG", fps=FRAMES_PER_SECOND, codec="libx264", macro_block_size=1, quality=8
        )
    return path


def _save_gif(frames: list[np.ndarray], path: Path) -> Path:
    with atomic_path(path) as temporary:
        _imageio().mimwrite(temporary, frames, format="GIF", duration=1000 / FRAMES_PER_SECOND, loop=0)
    return path
