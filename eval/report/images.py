"""Pictures inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from PIL import Image

LONGEST = 256
"""Pixels of a picture's longer side in the page. Larger ones are made smaller, which the page says."""


def data_uri(content: bytes, kind: str) -> str:
    """`data:` address of a file's content of the media type `kind`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def picture_uri(picture: np.ndarray) -> str:
    """A picture (height, width, 3), uint8, as it is in PNG; larger than `LONGEST` in WebP, made smaller."""
    image = Image.fromarray(picture)
    file = io.BytesIO()
    if max(image.size) <= LONGEST:
        image.save(file, format="PNG", optimize=True)
        return data_uri(file.getvalue(), "image/png")
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    image.save(file, format="WEBP", quality=90)
    return data_uri(file.getvalue(), "image/webp")


@overload
def middle_frame(frames: np.ndarray) -> np.ndarray: ...


@overload
def middle_frame(frames: Sequence[str]) -> str: ...


def middle_frame(frames: Any) -> Any:
    """Of the frames of a video, (frames, ...) or the names of their files, the one in the middle: a page shows it."""
    return frames[len(frames) // 2]
