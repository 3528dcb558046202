"""Where the samples of a row are: a page beside them that shows them, and the way to it from the report's own page."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

from toca.eval.findings.results import Row
from toca.eval.metrics.fidelity import PSNR
from toca.eval.report.content import MOST_LISTED, Report
from toca.eval.report.images import middle_frame
from toca.eval.report.templating import style, template
from toca.files.writing import atomic_path

NAME = "index.html"
_FRAME = re.compile(r"p(?P<prompt>\d+)-s(?P<sample>\d+)-f\d+\.png")
Frames: TypeAlias = dict[tuple[int, int], list[str]]
"""A sample's prompt and number -> the names of its pictures, more than one of a video."""


@dataclass(frozen=True)
class Shown:
    """A sample on such a page: the addresses of its picture and of the full run's, of a video the frame in the middle;
    and its PSNR, which identical ones have not."""

    prompt: str
    number: str
    psnr: float | None
    picture: str
    full: str


@dataclass(frozen=True)
class Samples:
    """The samples that lie below a page.

    Args:
        frames (`Mapping[str, Frames]`): A variant's name -> its pictures; only of those that have some.
        pages (`Mapping[str, str]`): A variant's name -> the address of the page of its samples.
        probe (`str`): The address of a picture: where it is not, the page was copied away, and they are not either.
    """

    frames: Mapping[str, Frames]
    pages: Mapping[str, str]
    probe: str


def samples_below(report: Report, folder: Path) -> Samples | None:
    """The samples that lie below a page in `folder`; `None` if the full run's do not, which all are held against.

    Each folder of samples is read here, once: of many thousand samples that takes its time.
    """
    inside = folder.absolute()
    below = {name: path for name, path in report.folders.items() if path.absolute().is_relative_to(inside)}
    frames = {name: found for name, path in below.items() if (found := _frames(path))}
    full = frames.get(report.full.name)
    if full is None:
        return None
    pages = {name: _address(below[name] / NAME, folder) for name in frames}
    return Samples(frames, pages, _address(below[report.full.name] / next(iter(full.values()))[0], folder))


def write_sample_pages(report: Report, samples: Samples | None, page: Path) -> None:
    """Write the page of each row's samples beside these.

    Args:
        report (`Report`): What was found.
        samples (`Samples`, *optional*): Those below its own page.
        page (`Path`): That page, which those lead back to.

    Raises:
        OSError: If a file cannot be written; it says which and why.
    """
    found = {} if samples is None else samples.frames
    for row in report.rows:
        if row.name in found:
            folder = report.folders[row.name]
            with atomic_path(folder / NAME) as temporary:
                temporary.write_bytes(_page(report, row, folder, found[row.name], page).encode())


def _page(report: Report, row: Row, folder: Path, frames: Frames, page: Path) -> str:
    full, items = report.folders[report.full.name], report.results.config["items"]
    shown = [
        Shown(
            prompt=text,
            number=f"prompt {prompt}, sample {sample}",
            psnr=row.samples[PSNR][place],
            picture=quote(middle_frame(found)),
            full="" if row.name == report.full.name else _address(full / middle_frame(found), folder),
        )
        for place, (prompt, sample, text) in enumerate(items[:MOST_LISTED])
        if (found := frames.get((prompt, sample)))
    ]
    return template("samples.html.j2").render(
        name=row.name,
        model=report.results.model,
        shown=shown,
        count=len(items),
        video=any(len(found) > 1 for found in frames.values()),
        report=_address(page, folder),
        style=style(),
    )


def _frames(folder: Path) -> Frames:
    """The pictures in a folder of samples."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    matches = [match for name in names if (match := _FRAME.fullmatch(name))]
    samples = groupby(matches, key=lambda match: (int(match["prompt"]), int(match["sample"])))
    return {key: [match[0] for match in found] for key, found in samples}


def _address(path: Path, folder: Path) -> str:
    """The address of a file for a page that lies in a folder."""
    return quote(Path(os.path.relpath(path, folder)).as_posix())
