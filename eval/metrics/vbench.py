"""VBench (Huang et al., arXiv 2311.17982) through its own package: the dimensions it computes of any video.

`pip install vbench`; it downloads the networks of each dimension once. It is no dependency of toca, for it pins old
versions of much: install it into an environment of its own where it does not import.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from toca.eval.metrics.optional import needed

DIMENSIONS = (
    "subject_consistency",
    "background_consistency",
    "motion_smoothness",
    "dynamic_degree",
    "aesthetic_quality",
    "imaging_quality",
)
"""What VBench computes of videos that are not of its own prompts."""
SUFFIXES = (".mp4", ".gif", ".jpg", ".png")
"""What VBench takes for a video."""

NAME = "toca"


def vbench_scores(
    folder: Path,
    prompts: Mapping[str, str],
    output: Path,
    dimensions: Sequence[str] = DIMENSIONS,
    device: torch.device | str = "cuda",
) -> dict[str, dict[str, float]]:
    """Score videos by VBench in its mode `custom_input`.

    Args:
        folder (`Path`): With the videos, .mp4 or .gif, and no other pictures.
        prompts (`Mapping[str, str]`): The prompt of every file in it, by its name.
        output (`Path`): A folder for what VBench writes.
        dimensions (`Sequence[str]`): Of `DIMENSIONS`.
        device (`torch.device`): Where to compute.

    Returns:
        `dict[str, dict[str, float]]`: For each dimension the score of each file, by its name, as VBench writes it: in
        0..1, but `imaging_quality` in 0..100. More is better, but `dynamic_degree` is 1 where a video moves much.

    Raises:
        ImportError: If the package is missing or does not import.
        ValueError: If a dimension is not one of these, or files and prompts do not belong together.
    """
    if unknown := [name for name in dimensions if name not in DIMENSIONS]:
        raise ValueError(f"VBench computes no {unknown[0]!r} of any video: choose from {', '.join(DIMENSIONS)}.")
    files = {path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES}
    if lone := sorted(files ^ set(prompts)):
        raise ValueError(f"{folder} and the prompts differ by {lone[0]!r}: give every video one prompt, by file name.")
    package = needed("vbench", "VBench", "vbench")
    judge = package.VBench(torch.device(device), "", str(output))
    options = {"prompt_list": dict(prompts), "dimension_list": list(dimensions), "mode": "custom_input"}
    judge.evaluate(str(folder), NAME, **options)
    return _read(output / f"{NAME}_eval_results.json")


def _read(path: Path) -> dict[str, dict[str, float]]:
    """VBench writes `{dimension: [mean, [{"video_path": ..., "video_results": ...}, ...]]}`."""
    written = json.loads(path.read_text(encoding="utf-8"))
    return {
        dimension: {Path(video["video_path"]).name: float(video["video_results"]) for video in videos}
        for dimension, (_, videos) in written.items()
    }
