"""A labelled picture with the full model's images on the left and the cached ones on the right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

PANEL = 448  # pixels that a panel is wide at least: small models make 64-pixel pictures
_BLACK, _GREY, _GREEN = "#1a1a1a", "#6b6b6b", "#0b7a3b"


@dataclass(frozen=True)
class Comparison:
    """What is written below and above the two panels.

    Args:
        title (`str`): the prompt or the class.
        method (`str`): the method's name.
        steps (`str`): the steps string.
        seconds (`tuple[float, float]`): wall-clock time of the full and of the cached model.
        flops_speedup (`float`): FLOPs of the full model over FLOPs of the cached one.
        psnr (`float`): mean over the images, in decibels; infinite if all are identical.
    """

    title: str
    method: str
    steps: str
    seconds: tuple[float, float]
    flops_speedup: float
    psnr: float

    @property
    def wall_speedup(self) -> float:
        return self.seconds[0] / self.seconds[1]

    @property
    def psnr_text(self) -> str:
        return "identical" if math.isinf(self.psnr) else f"{self.psnr:.1f} dB"


def mean_psnr(images: list[Image.Image], references: list[Image.Image]) -> float:
    """Peak signal-to-noise ratio in decibels, computed on each pair and averaged over the pairs that differ.

    Args:
        images, references (`list[PIL.Image.Image]`): pairs of one size each.

    Returns:
        `float`: infinite if every pair is identical.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    pairs = [(_tensor(image), _tensor(other)) for image, other in zip(images, references, strict=True)]
    values = [
        peak_signal_noise_ratio(image, other, data_range=255.0).item()
        for image, other in pairs
        if not torch.equal(image, other)
    ]
    return sum(values) / len(values) if values else math.inf


def _tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).double()


def draw_comparison(baseline: list[Image.Image], cached: list[Image.Image], facts: Comparison) -> Image.Image:
    """The side-by-side picture.

    Args:
        baseline, cached (`list[PIL.Image.Image]`): the same number of images of one size; several make a grid.
        facts (`Comparison`): what the labels say.

    Returns:
        `PIL.Image.Image`: RGB.
    """
    left, right = (_panel(images) for images in (baseline, cached))
    scale = left.width / PANEL
    margin = round(28 * scale)
    top = margin + round(42 * scale)
    picture = Image.new("RGB", (2 * left.width + 3 * margin, top + left.height + round(140 * scale)), "white")
    draw = ImageDraw.Draw(picture)
    title_at = (margin, margin - round(6 * scale))
    _write(draw, title_at, facts.title, picture.width - 2 * margin, 24 * scale, _BLACK, bold=True)
    for x, panel, caption in (
        (margin, left, _baseline_caption(facts)),
        (left.width + 2 * margin, right, _cached_caption(facts)),
    ):
        picture.paste(panel, (x, top))
        for row, (text, colour) in enumerate(caption):
            y = top + left.height + round((12 + 30 * row) * scale)
            _write(draw, (x, y), text, panel.width, (18 if row else 20) * scale, colour, bold=row == 0)
    return picture


Caption = list[tuple[str, str]]


def _baseline_caption(facts: Comparison) -> Caption:
    return [("full model", _BLACK), (_seconds(facts.seconds[0]), _GREY)]


def _cached_caption(facts: Comparison) -> Caption:
    colour = _GREEN if facts.wall_speedup > 1 else _GREY
    return [
        (facts.method, _BLACK),
        (f"{_seconds(facts.seconds[1])}, {facts.wall_speedup:.2f}× as fast", colour),
        (f"FLOPs {facts.flops_speedup:.2f}× fewer, PSNR {facts.psnr_text}", _GREY),
        (f"steps {facts.steps}", _GREY),
    ]


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _panel(images: list[Image.Image]) -> Image.Image:
    """The images in a grid, as near to a square as they fill, enlarged by a whole factor if they are small."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    width, height = images[0].size
    gap = 4 if len(images) > 1 else 0
    factor = math.ceil(max(1, PANEL / columns - gap) / width)
    cell_width, cell_height = width * factor + gap, height * factor + gap
    panel = Image.new("RGB", (columns * cell_width - gap, rows * cell_height - gap), "white")
    for i, image in enumerate(images):
        enlarged = image.convert("RGB").resize((width * factor, height * factor), Image.Resampling.LANCZOS)
        panel.paste(enlarged, (i % columns * cell_width, i // columns * cell_height))
    return panel


def _write(
    draw: ImageDraw.ImageDraw,
    position: tuple[int, int],
    text: str,
    width: int,
    size: float,
    colour: str,
    bold: bool = False,
) -> None:
    """One line of text, cut with an ellipsis where it would be wider than `width` pixels."""
    # Matplotlib's own font is at hand on every system and knows more scripts than Pillow's.
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
    line = text = " ".join(text.split())
    while text and font.getlength(line) > width:
        text = text[:-1]
        line = text.rstrip() + "…"
    draw.text(position, line, colour, font)
