"""Which tokens a token-wise method recomputed: a heat map over the pictures, and its plan as a picture."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, style

from toca.eval.findings.results import Row
from toca.eval.report.columns import mib
from toca.eval.report.content import Report
from toca.eval.report.images import data_uri, middle_frame, picture_uri
from toca.plan.drawing import draw_plan

SHOWN = 6
"""Samples of each variant."""
COLOURS = "viridis"
DARK: Any = ["dark_background", {f"{part}.facecolor": "#1a1e25" for part in ("figure", "axes", "savefig")}]
"""The style of a drawing in a dark page, on its ground."""
STRENGTH = 0.6
"""How far the colours of the heat map cover the picture below."""


@dataclass(frozen=True)
class TokenMap:
    """One sample: its picture, where there is one, and the heat map, laid over it."""

    prompt: str
    picture: str | None
    overlay: str


@dataclass(frozen=True)
class TokenWise:
    """What is known of one token-wise variant: the drawing of its plan, for light and for dark pages, the maps of some
    samples, and the shares that the darkest and the brightest colour stand for in them."""

    name: str
    plan: str | None
    dark_plan: str | None
    maps: list[TokenMap]
    lowest: float = 0.0
    highest: float = 1.0


def token_wise(report: Report) -> list[TokenWise]:
    """The variants with a plan or token maps, in the order of the run.

    Raises:
        ValueError: If a map has not four dimensions, or values outside 0..1.
    """
    rows = report.results.methods
    return [_variant(report, row) for row in rows if row.name in report.plans or row.name in report.token_maps]


def _drawn(report: Report, row: Row, light: bool) -> str | None:
    plan = report.plans.get(row.name)
    if plan is None:
        return None
    # What was counted of this very variant, and not what its plan promises at some size.
    costs = f"{row.flops_speedup:.2f}x fewer FLOPs, {mib(row.cache_bytes)} MiB of cache a batch"
    with tempfile.TemporaryDirectory() as folder, style.context("default" if light else DARK):
        path = Path(folder) / "plan.png"
        draw_plan(plan, path, f"{row.name} on {report.results.model}", costs)
        return data_uri(path.read_bytes(), "image/png")


def _variant(report: Report, row: Row) -> TokenWise:
    name = row.name
    shares, plans = report.token_maps.get(name), (_drawn(report, row, True), _drawn(report, row, False))
    if shares is None:
        return TokenWise(name, *plans, [])
    if shares.ndim != 4 or shares.min() < 0 or shares.max() > 1:
        raise ValueError(
            f"The token maps of {name!r} must be (samples, frames, rows, columns) with shares from 0 to 1, got the "
            f"shape {shares.shape}: give what `TokenRecorder.shares` returns."
        )
    items = report.results.config["items"]
    shown = np.stack([middle_frame(frames) for frames in shares[: min(SHOWN, len(items))]])
    lowest, highest = float(shown.min()), float(shown.max())
    # Full steps give every token its chance, so that the shares lie close together: the colours are spread over them.
    spread = (shown - lowest) / max(highest - lowest, 1e-9)
    pictures = None if report.pictures is None else report.pictures(name, range(len(spread)))
    maps = [_map(items[i][2], spread[i], None if pictures is None else pictures[i]) for i in range(len(spread))]
    return TokenWise(name, *plans, maps, lowest, highest)


def _map(prompt: str, share: np.ndarray, frames: np.ndarray | None) -> TokenMap:
    """`share` (rows, columns) over the frame in the middle of `frames` (frames, height, width, 3)."""
    if frames is None:
        return TokenMap(prompt, None, picture_uri(_coloured(np.kron(share, np.ones((8, 8))))))
    picture = middle_frame(frames)
    return TokenMap(prompt, picture_uri(picture), picture_uri(overlay(picture, share)))


def overlay(picture: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The picture in grey below the colours of the shares.

    Args:
        picture (`np.ndarray`): (height, width, 3), uint8.
        share (`np.ndarray`): (rows, columns), 0 (dark) to 1 (bright): of the tokens, which share the picture out
            evenly.

    Returns:
        `np.ndarray`: (height, width, 3), uint8.
    """
    height, width = picture.shape[:2]
    down = np.arange(height) * share.shape[0] // height
    right = np.arange(width) * share.shape[1] // width
    grey = picture.mean(axis=2, keepdims=True)
    mixed = (1 - STRENGTH) * grey + STRENGTH * _coloured(share[down][:, right])
    return np.clip(mixed, 0, 255).round().astype(np.uint8)


def _coloured(share: np.ndarray) -> np.ndarray:
    """(rows, columns) -> (rows, columns, 3), uint8, dark for 0 and bright for 1."""
    return colormaps[COLOURS](share, bytes=True)[..., :3]
