"""The files of a generation: their names, and how each is written."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from toca.pipelines.compare import Comparison, draw_comparison
from toca.pipelines.generate import Sample
from toca.pipelines.metadata import TEXT_CHUNK, Recipe, describe, png_info
from toca.pipelines.video import save_video
from toca.pipelines.writing import prepare_folder
from toca.writing import atomic_path

DEFAULT_FOLDER = Path("outputs")
_FILE_SUFFIXES = {".png", ".mp4", ".gif"}


@dataclass(frozen=True)
class OutputPaths:
    """Names of the files of one generation.

    Args:
        folder (`Path`): where they go.
        stem (`str`): what their names begin with.
        numbered (`bool`): whether names carry the sample's index.
    """

    folder: Path
    stem: str
    numbered: bool

    def sample(self, index: int) -> Path:
        return self.folder / f"{self.stem}{self._number(index)}.png"

    def baseline(self, index: int) -> Path:
        return self.folder / f"{self.stem}{self._number(index)}-baseline.png"

    @property
    def comparison(self) -> Path:
        return self.folder / f"{self.stem}-compare.png"

    def _number(self, index: int) -> str:
        return f"-{index}" if self.numbered else ""


def choose_paths(output: str | None, text: str, indices: list[int]) -> OutputPaths:
    """Names for a generation's files, in a folder that exists afterwards.

    Args:
        output (`str` or `None`): a `.png` (or `.mp4`, `.gif`) file, which is overwritten, or a folder, where new
            names are found; `None` for the folder `outputs`.
        text (`str`): what the files in a folder are named after.
        indices (`list[int]`): of the samples.

    Raises:
        ValueError: for a file of another kind.
        OSError: if the folder cannot be made or written to.
    """
    path = DEFAULT_FOLDER if output is None else Path(output).expanduser()
    numbered = len(indices) > 1
    if path.suffix and not path.is_dir():
        if path.suffix.lower() not in _FILE_SUFFIXES:
            raise ValueError(f"{path}: pictures are saved as .png, videos as .mp4 and .gif; a folder has no suffix.")
        prepare_folder(path.parent)
        return OutputPaths(path.parent, path.stem, numbered)
    prepare_folder(path)
    return next(paths for stem in _stems(text) if not _taken(paths := OutputPaths(path, stem, numbered), indices))


def _stems(text: str) -> Iterator[str]:
    """`a-red-apple`, then `a-red-apple-2`, and so on."""
    stem = re.sub(r"\W+", "-", text.lower()).strip("-")[:60] or "image"
    yield stem
    yield from (f"{stem}-{count}" for count in itertools.count(2))


def _taken(paths: OutputPaths, indices: list[int]) -> bool:
    return paths.comparison.exists() or any(
        path.exists() for index in indices for path in (paths.sample(index), paths.baseline(index))
    )


def save_sample(path: Path, sample: Sample, recipe: Recipe, summary: Any | None = None) -> list[Path]:
    """Write a PNG that says how it was made; for a video its first frame, beside an MP4 and a GIF.

    Args:
        path (`Path`): of the PNG.
        sample (`Sample`): what to save.
        recipe (`Recipe`): how it was made.
        summary (`toca.Summary` or `None`): of the run.

    Returns:
        `list[Path]`: the files, the one to look at first.

    Raises:
        ImportError: if a video cannot be written because packages are missing.
        OSError: if a file cannot be written.
    """
    facts = () if summary is None else (summary.steps, summary.flops_speedup)
    info = png_info(recipe, sample.image.size, *facts)
    videos = save_video(sample.frames, path) if sample.is_video else []
    _save_png(sample.image, path, info)
    return [*videos, path]


def save_comparison(
    path: Path, baseline: list[Sample], cached: list[Sample], facts: Comparison, recipe: Recipe
) -> list[Path]:
    """Write the side-by-side picture; for videos also an MP4 and a GIF. Returns and raises as `save_sample`."""
    pictures = [
        draw_comparison([sample.frames[i] for sample in baseline], [sample.frames[i] for sample in cached], facts)
        for i in range(len(cached[0].frames))
    ]
    videos = save_video(pictures, path) if cached[0].is_video else []
    info = PngImagePlugin.PngInfo()
    info.add_text(TEXT_CHUNK, describe(recipe, cached[0].image.size, facts.steps))
    _save_png(pictures[0], path, info)
    return [*videos, path]


def _save_png(image: Image.Image, path: Path, info: PngImagePlugin.PngInfo) -> None:
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=info)
