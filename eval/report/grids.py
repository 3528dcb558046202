"""Full run and cached run side by side: the samples that came out worst, and those that came out best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from toca.eval.findings.matching import nearest
from toca.eval.findings.results import Row
from toca.eval.metrics.fidelity import PSNR
from toca.eval.report.content import Report
from toca.eval.report.images import middle_frame, picture_uri

SHOWN = 4
"""Pairs at either end."""

Load: TypeAlias = Callable[[Sequence[int]], np.ndarray]


@dataclass(frozen=True)
class Pair:
    """One sample by the full and by the cached run; both as `data:` addresses."""

    prompt: str
    number: str
    psnr: float
    full: str
    cached: str


@dataclass(frozen=True)
class Grid:
    """The worst and the best samples of one variant, the extreme ones first, and how many equal the full run's."""

    name: str
    speedup: float
    worst: list[Pair]
    best: list[Pair]
    identical: int


def grids(report: Report) -> list[Grid]:
    """For each method the setting nearest to the middle speed-up, the best mean PSNR first; none without pictures.

    Raises:
        ValueError: If pictures are not of the form that they must have.
    """
    if report.pictures is None:
        return []
    rows = [row for row in representatives(report.results.methods, report.middle_speedup) if row.psnr is not None]
    rows = sorted(rows, key=lambda row: row.psnr or 0.0, reverse=True)
    items = report.results.config["items"]
    return [_grid(row, items, partial(_loaded, report.pictures, row), partial(_loaded, report.pictures, report.full))
            for row in rows]  # fmt: skip


def representatives(rows: list[Row], target: float) -> list[Row]:
    """Of each group the row nearest in speed to `target`; what skipped nothing is left out."""
    working = [row for row in rows if not row.skipped_nothing]
    groups: dict[str, list[Row]] = {}
    for row in working:
        groups.setdefault(row.group, []).append(row)
    return [members[nearest(target, _speedups(members))] for members in groups.values()]


def _speedups(rows: list[Row]) -> dict[int, float]:
    return {i: row.speedup for i, row in enumerate(rows)}


def extremes(values: list[float | None], count: int) -> tuple[list[int], list[int]]:
    """Places of the `count` lowest values, lowest first, and of the `count` highest, highest first; none is in both,
    and `None` is in neither.

    Of fewer than 2 x `count` values the worse half, rounded up, is the first list.
    """
    order = [i for _, i in sorted((value, i) for i, value in enumerate(values) if value is not None)]
    worst = order[: min(count, (len(order) + 1) // 2)]
    return worst, order[len(worst) :][::-1][:count]


def _grid(row: Row, items: Sequence[tuple[int, int, str]], pictures: Load, references: Load) -> Grid:
    values = row.samples[PSNR]

    def pairs(places: list[int]) -> list[Pair]:
        if not places:
            return []
        return [pair(*each) for each in zip(places, references(places), pictures(places), strict=True)]

    def pair(i: int, *frames: np.ndarray) -> Pair:
        prompt, sample, text = items[i]
        full, cached = (picture_uri(middle_frame(found)) for found in frames)
        return Pair(text, f"prompt {prompt}, sample {sample}", values[i] or 0.0, full, cached)

    worst, best = extremes(values, SHOWN)
    return Grid(row.name, row.speedup, pairs(worst), pairs(best), row.identical)


def _loaded(load: Callable[[str, Sequence[int]], np.ndarray], row: Row, places: Sequence[int]) -> np.ndarray:
    pictures, count = load(row.name, places), len(places)
    if pictures.ndim != 5 or len(pictures) != count or pictures.dtype != np.uint8:
        raise ValueError(
            f"The pictures of {row.name!r} must be ({count}, frames, height, width, 3) in uint8, got "
            f"{pictures.shape} in {pictures.dtype}: load those of this run."
        )
    return pictures
