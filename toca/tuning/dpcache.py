"""DPCache's graph (arXiv 2602.22654, CVPR 2026): what each segment costs, from the features of one run in full.

No segment is run. What would be forecast in it is compared with what was computed there: of features h of each step,
the paper's the last block's output, the segment from the full step j to the next one k, where i is the full step
before j, costs

    C(i, j, k) = sum over j < s < k of |h_s - forecast of h_s from h_i and h_j|,

with the sum of absolute values over all of a feature. The first steps are all full. The forecast here goes on along
the straight line through the last two full steps, for i and j are all that an edge knows of its path; the paper's is a
Taylor series of order 2.

The paper's recurrence keeps one predecessor for each step, and so misses paths; `best_paths` keeps all.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch

from ..checks import SomeSteps, check, checked
from .graph import Edge

WARMUP_STEPS = 3
"""The first steps, all full: the paper's M."""


def edges_of(
    features: Sequence[torch.Tensor],
    reach: int = 8,
    warmup_steps: int = WARMUP_STEPS,
    label: int = 0,
    full_time: float = 1.0,
    filled_time: float = 0.0,
) -> list[Edge]:
    """All segments of a generation, for `best_paths` with `PowerSum(1)`.

    Args:
        features (`Sequence[torch.Tensor]`): Of each step (B, ...), alike in all steps; costs are the mean over the B
            samples.
        reach (`int`, defaults to 8): Steps from a full one to the next, at most.
        warmup_steps (`int`, defaults to 3): First steps that are all full.
        label (`int`, defaults to 0): Of edges that fill.
        full_time, filled_time (`float`, default to 1 and 0): What a full and a filled step take.

    Raises:
        ValueError: If there is no feature, one is of another shape than the first, or a number is out of range.
    """
    reach = checked(reach, SomeSteps, "reach")
    warmup_steps = checked(warmup_steps, SomeSteps, "warmup_steps")
    _check_alike(features)
    num_steps, wide = len(features), [feature.float() for feature in features]
    edges = [Edge(step, step + 1, None, 0.0, full_time) for step in range(num_steps)]
    for start in range(warmup_steps - 1, num_steps):
        stops = range(start + 2, min(start + reach, num_steps) + 1)
        for before in _before(start, reach, warmup_steps):
            errors = accumulate(_error(wide, before, start, stop - 1) for stop in stops)
            for stop, error in zip(stops, errors, strict=True):
                time = full_time + (stop - start - 1) * filled_time
                edges.append(Edge(start, stop, label, error, time, before))
    return edges


def _check_alike(features: Sequence[torch.Tensor]) -> None:
    check(len(features) > 0, "features", len(features), "must be one for each step")
    for step, feature in enumerate(features):
        wanted = f"must have the shape of the first, {tuple(features[0].shape)}"
        check(feature.shape == features[0].shape, f"features[{step}]", tuple(feature.shape), wanted)


def _before(start: int, reach: int, warmup_steps: int) -> Sequence[int | None]:
    """The full steps that may be the last before a full step."""
    if start == 0:
        return (None,)
    return range(min(start, max(start - reach, warmup_steps - 1, 0)), start) or (start - 1,)


def _error(features: Sequence[torch.Tensor], before: int | None, start: int, step: int) -> float:
    """How far the forecast of one step is off: the sum over a feature, the mean over samples."""
    newest = features[start]
    forecast = newest
    if before is not None:
        forecast = torch.lerp(features[before], newest, (step - before) / (start - before))
    return (features[step] - forecast).abs().flatten(1).sum(1).mean().item()
