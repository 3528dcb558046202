"""MP4 and GIF."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

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


def video_writers(frames: list[Image.Image]) -> dict[str, Callable[[Path], None]]:
    """What writes a video as an MP4 and as a GIF.

    Args:
        frames (`list[PIL.Image.Image]`): RGB frames of one size, at least one.

    Returns:
        `dict[str, Callable[[Path], None]]`: suffix -> writer. A writer raises `ImportError` if the packages of the
        `video` extra are missing, and `OSError` if the file cannot be written.
    """
    arrays = [np.asarray(frame.convert("RGB")) for frame in frames]
    return {".mp4": partial(_write_mp4, arrays), ".gif": partial(_write_gif, arrays)}


def _write_mp4(frames: list[np.ndarray], path: Path) -> None:
    # H.264 in the 4:2:0 format that every player knows wants even sides.
    padded = [np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), "edge") for frame in frames]
    _imageio().mimwrite(
        path, padded, format="FFMPEG", fps=FRAMES_PER_SECOND, codec="libx264", macro_block_size=1, quality=8
    )


def _write_gif(frames: list[np.ndarray], path: Path) -> None:
    _imageio().mimwrite(path, frames, format="GIF", duration=1000 / FRAMES_PER_SECOND, loop=0)
