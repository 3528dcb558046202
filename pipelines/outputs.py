"""The files of a generation: their names, and how each is written."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from toca.files.writing import place, temporary_path
from toca.pipelines.compare import Comparison, draw_comparison
from toca.pipelines.generate import Sample
from toca.pipelines.metadata import TEXT_CHUNK, Recipe, describe, png_info
from toca.pipelines.video import video_writers
from toca.pipelines.writing import check_folder, prepare_folder

DEFAULT_FOLDER = Path("outputs")
LONGEST_NAME = 255
"""Bytes of a file's name, on every file system in use."""
LONGEST_STEM = 60
"""Bytes of a name made from a prompt; the whole name, with numbers and suffixes, stays below 120."""
RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))})
"""What Windows takes for devices, whatever the suffix."""
_FILE_SUFFIXES = {".png", ".mp4", ".gif"}
_VIDEO_SUFFIXES = (".mp4", ".gif")

Writer = Callable[[Path], Any]


@dataclass
class OutputPaths:
    """Names of the files of one generation.

    Args:
        folder (`Path`): where they go.
        stem (`str`): what their names begin with.
        numbered (`bool`): whether names carry the sample's index.
        others (`Iterator[str]` or `None`): stems to go on to where a name is taken; `None` overwrites the file.
    """

    folder: Path
    stem: str
    numbered: bool
    others: Iterator[str] | None = field(default=None, repr=False)

    def sample(self, index: int) -> Path:
        return self.folder / f"{self.stem}{self._number(index)}.png"

    def baseline(self, index: int) -> Path:
        return self.folder / f"{self.stem}{self._number(index)}-baseline.png"

    @property
    def comparison(self) -> Path:
        return self.folder / f"{self.stem}-compare.png"

    def _number(self, index: int) -> str:
        return f"-{index}" if self.numbered else ""

    def all(self, indices: Iterable[int]) -> Iterator[Path]:
        """Every file that may be written."""
        for index in indices:
            yield from _with_videos(self.sample(index))
            yield from _with_videos(self.baseline(index))
        yield from _with_videos(self.comparison)

    def save(self, name: Callable[[], Path], writers: Mapping[str, Writer]) -> list[Path]:
        """Write the files of one picture, and only when they are whole give them their names. Where another process
        has taken a name meanwhile, this and all later files go on to the next stem.

        Args:
            name (`Callable[[], Path]`): the PNG's name, by the stem of the moment.
            writers (`Mapping[str, Callable[[Path], Any]]`): suffix -> what writes the file.

        Returns:
            `list[Path]`: the files, in the order of `writers`.

        Raises:
            OSError: if one cannot be written; then none of them is there.
        """
        with ExitStack() as stack:
            made = {suffix: stack.enter_context(temporary_path(name().with_suffix(suffix))) for suffix in writers}
            for suffix, write in writers.items():
                write(made[suffix])
            while True:
                files = {temporary: name().with_suffix(suffix) for suffix, temporary in made.items()}
                if place(files, overwrite=self.others is None):
                    return list(files.values())
                self.stem = next(self.others)  # type: ignore[arg-type]


def _with_videos(path: Path) -> list[Path]:
    return [path, *(path.with_suffix(suffix) for suffix in _VIDEO_SUFFIXES)]


def check_output(output: str | None) -> None:
    """Look, before anything is loaded, whether files can go where they shall; makes nothing.

    Raises:
        ValueError: for a file of another kind than a picture or video.
        OSError: for a folder that can neither be made nor written to.
    """
    path = DEFAULT_FOLDER if output is None else Path(output).expanduser()
    check_folder(path.parent if _is_file(path) else path)


def is_file(output: str | None) -> bool:
    """Whether an output is one file, and not a folder. Raises `ValueError` for a file that is no picture or video."""
    return output is not None and _is_file(Path(output).expanduser())


def _is_file(path: Path) -> bool:
    """Whether a file is meant, and not a folder."""
    # Of a name too long for the system this is no error.
    if not path.suffix or os.path.isdir(path):
        return False
    if path.suffix.lower() not in _FILE_SUFFIXES:
        raise ValueError(f"{path}: pictures are saved as .png, videos as .mp4 and .gif; a folder has no suffix.")
    return True


def choose_paths(output: str | None, text: str, indices: Sequence[int]) -> OutputPaths:
    """Names for a generation's files, in a folder that exists afterwards.

    Args:
        output (`str` or `None`): a `.png` (or `.mp4`, `.gif`) file, which is overwritten, or a folder, where new
            names are found; `None` for the folder `outputs`.
        text (`str`): what the files in a folder are named after.
        indices (`Sequence[int]`): of the samples.

    Raises:
        ValueError: for a file of another kind, or too long a name.
        OSError: if the folder cannot be made or written to.
    """
    path = DEFAULT_FOLDER if output is None else Path(output).expanduser()
    numbered = len(indices) > 1
    if _is_file(path):
        prepare_folder(path.parent)
        paths = OutputPaths(path.parent, path.stem, numbered)
        _check_names(paths, indices)
        return paths
    prepare_folder(path)
    stems = _stems(text)
    taken = {entry.name.lower() for entry in os.scandir(path)}
    for stem in stems:
        paths = OutputPaths(path, stem, numbered, stems)
        if taken.isdisjoint(name.name for name in paths.all(indices)):
            return paths
    raise AssertionError("stems never end")


def _check_names(paths: OutputPaths, indices: Sequence[int]) -> None:
    for path in paths.all(indices):
        if len(os.fsencode(path.name)) > LONGEST_NAME:
            raise ValueError(f"--output: the name {path.name[:40]}... is too long for a file: {LONGEST_NAME} bytes.")
        if os.path.isdir(path):
            raise ValueError(f"{path} is a folder, so no file can be saved under that name.")


def _stems(text: str) -> Iterator[str]:
    """`a-red-apple`, then `a-red-apple-2`, and so on."""
    words = re.sub(r"\W+", "-", text[: 4 * LONGEST_STEM].lower()).strip("-")
    stem = words.encode("utf-8")[:LONGEST_STEM].decode("utf-8", "ignore").strip("-") or "image"
    stem = f"image-{stem}" if stem in RESERVED else stem
    yield stem
    yield from (f"{stem}-{count}" for count in itertools.count(2))


def save_sample(
    paths: OutputPaths, sample: Sample, recipe: Recipe, summary: Any | None = None, baseline: bool = False
) -> list[Path]:
    """Write a PNG that says how it was made; for a video its first frame, beside an MP4 and a GIF.

    Args:
        paths (`OutputPaths`): the names of the files.
        sample (`Sample`): what to save.
        recipe (`Recipe`): how it was made.
        summary (`toca.Summary` or `None`): of the run.
        baseline (`bool`): whether it is the full model's, beside one with a method.

    Returns:
        `list[Path]`: the files, the one to look at first.

    Raises:
        ImportError: if a video cannot be written because packages are missing.
        OSError: if a file cannot be written.
    """
    facts = () if summary is None else (summary.steps, summary.flops_speedup)
    name = partial(paths.baseline if baseline else paths.sample, sample.index)
    return paths.save(name, _writers(sample.frames, sample.is_video, png_info(recipe, sample.image.size, *facts)))


def save_comparison(
    paths: OutputPaths, baseline: list[Sample], cached: list[Sample], facts: Comparison, recipe: Recipe
) -> list[Path]:
    """Write the side-by-side picture; for videos also an MP4 and a GIF. Returns and raises as `save_sample`."""
    pictures = [
        draw_comparison([sample.frames[i] for sample in baseline], [sample.frames[i] for sample in cached], facts)
        for i in range(len(cached[0].frames))
    ]
    info = PngImagePlugin.PngInfo()
    info.add_text(TEXT_CHUNK, describe(recipe, cached[0].image.size, facts.steps))
    return paths.save(lambda: paths.comparison, _writers(pictures, cached[0].is_video, info))


def _writers(frames: list[Image.Image], is_video: bool, info: PngImagePlugin.PngInfo) -> dict[str, Writer]:
    videos = video_writers(frames) if is_video else {}
    return {**videos, ".png": partial(_write_png, frames[0], info)}


def _write_png(image: Image.Image, info: PngImagePlugin.PngInfo, path: Path) -> None:
    image.save(path, format="PNG", pnginfo=info)
