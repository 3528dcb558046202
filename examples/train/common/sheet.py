"""Sheets of samples: pictures side by side, each above its prompt."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LIMIT = 300_000  # bytes that a sheet may have


def sheet(pictures: list[np.ndarray], captions: list[str], columns: int) -> Image.Image:
    """uint8 pictures of one size, (height, width, 3), in rows."""
    height, width = pictures[0].shape[:2]
    line = 14
    rows = -(-len(pictures) // columns)
    page = Image.new("RGB", (columns * (width + 8), rows * (height + line + 6)), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=10)
    for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = (i % columns) * (width + 8) + 4, (i // columns) * (height + line + 6)
        page.paste(Image.fromarray(picture), (x, y + 2))
        while draw.textlength(caption, font=font) > width + 4:
            caption = caption[:-2].rstrip("…") + "…"
        draw.text((x, y + height + 3), caption, fill="#333333", font=font)
    return page


def enlarged(picture: np.ndarray, factor: float) -> np.ndarray:
    """A picture at another size."""
    size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def save(page: Image.Image, path: Path) -> None:
    """Writes a PNG of at most `LIMIT` bytes, with as many colours as that allows.

    Raises:
        ValueError: if 32 colours are still too many.
    """
    for colours in (256, 128, 64, 32):
        page.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= LIMIT:
            return
    raise ValueError(f"{path} has {path.stat().st_size} bytes, more than {LIMIT}.")
