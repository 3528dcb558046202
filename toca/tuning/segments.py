"""What it costs to fill a segment: how far the latents go astray in it, and what becomes of that by the end.

The error of a segment is the error of the final latents where it alone is filled (LeMiCa, arXiv 2511.00090). It is
taken apart here into two factors, so that few runs of the model tell it for all segments:

- its **deviation**: how far the latents are from where they would be, one full step after the segment, through the
  real scheduler and with the full run's output in that step, so that a multistep solver's memory counts. It is
  measured for every segment, every label and every full step before. Where the model's output is filled no model need
  run for it;
- the **sensitivity** of the end to a deviation at that step, measured by one whole run for each step and kind of
  label.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch

from ..axes.sampling import Timeline
from .labels import Draft, Label, Row, plan_of
from .rehearsal import FullRun, Rehearsal

Deviations = dict[int, float]
"""By the step that a segment ends at."""

RIDGE = 1e-9
"""Added to what least squares solves, whose diagonal is 1: changes that are parallel share a weight."""


def rms(tensor: torch.Tensor) -> float:
    """The root mean square of each sample, and of these the mean."""
    return float(tensor.float().flatten(1).square().mean(dim=1).sqrt().mean())


def distance(latents: torch.Tensor, others: torch.Tensor) -> float:
    """How far two batches of latents (B, ...) are apart: `rms` of the difference."""
    return rms(latents - others)


def history_of(label: Label, before: int | None, start: int) -> list[int]:
    """The full steps that a label goes on from, latest first. Of a third one it is not asked where it is: as far from
    the second as that is from the first."""
    if before is None:
        return [start]
    steps = [start, before]
    while len(steps) < label.looks_back and steps[-1] > 0:
        steps.append(max(0, steps[-1] - (start - before)))
    return steps[: label.looks_back]


def fitted_row(full: FullRun, history: Sequence[int], step: int) -> Row:
    """The weights of the outputs of some full steps, latest first, that come nearest to the output of another step, by
    least squares over all samples that there are. ScalingCache's slope is the case of two values whose weights add up
    to one."""
    values = [full.fitted_on[known].double().flatten() for known in history]
    # In the newest value and the changes since the others, which are far from parallel, as the values are not.
    basis = torch.stack([values[0], *(values[0] - value for value in values[1:])])
    gram, wanted = basis @ basis.T, basis @ (full.fitted_on[step].double().flatten() - values[0])
    scale = gram.diagonal().clamp_min(1e-300).sqrt()
    gram = gram / (scale[:, None] * scale) + RIDGE * torch.eye(len(values), dtype=gram.dtype, device=gram.device)
    first, *others = (torch.linalg.solve(gram, wanted / scale) / scale).tolist()
    return 1.0 + first + sum(others), *(-weight for weight in others)


def rows_of(draft: Draft, labels: Sequence[Label], full: FullRun) -> dict[int, Row]:
    """The fitted weights of all steps of a draft that are filled by them."""
    rows: dict[int, Row] = {}
    known: list[int] = []
    for start, stop, number in draft.segments(full.steps):
        known.insert(0, start)
        if labels[number].fitted:
            history = known[: labels[number].fitted]
            rows.update({step: fitted_row(full, history, step) for step in range(start + 1, stop)})
    return rows


def output_deviations(full: FullRun, label: Label, before: int | None, start: int, last: int) -> Deviations:
    """The deviations of a label of the model's output, for segments from `start` on that end at `last` or before.

    Guidance is linear in what the model returns, so that the guided output is filled as its branches would be; only
    the scheduler runs.
    """
    timeline = Timeline(full.steps, full.timesteps)
    history = history_of(label, before, start)
    sample = full.latents[start + 1]
    found: Deviations = {}
    scheduler = full.snapshots[start + 1].resumed() if start + 1 < full.steps else None
    for step in range(start + 1, min(last, full.steps)):
        snapshot = full.snapshots[step]
        sample = snapshot.step(scheduler, _filled(full, label, history, step, timeline), sample)
        stop = step + 1
        if stop == full.steps:
            found[stop] = distance(sample, full.end)
            continue
        # One step more, with the output of the full run: what the solver remembers counts too.
        ahead = copy.deepcopy(scheduler)
        found[stop] = distance(full.snapshots[stop].step(ahead, full.guided[stop], sample), full.latents[stop + 1])
    return found


def _filled(full: FullRun, label: Label, history: Sequence[int], step: int, timeline: Timeline) -> torch.Tensor:
    values = [full.guided[known] for known in history]
    if label.fitted:
        weights: Sequence[float] = fitted_row(full, history, step)
    else:
        weights = [1.0] if label.fill is None else label.fill.weights(step, history, timeline)
    total = torch.zeros_like(values[0], dtype=torch.float32)
    for weight, value in zip(weights, values, strict=False):
        total += weight * value.float()
    return total.to(values[0].dtype)


def block_deviations(
    rehearsal: Rehearsal, full: FullRun, label: Label, before: int | None, start: int, last: int
) -> Deviations:
    """The same of any other label: the model runs in the steps that it goes on from, and the pipeline up to `last`."""
    known = history_of(label, before, start)
    draft = Draft(tuple(range(start + 1)), (0,) * (start + 1))
    plan = plan_of(draft, [label], rehearsal.layout, full.timesteps)
    skipped = frozenset(step for step in range(start) if step not in known)
    after = rehearsal.strayed(plan, full, skipped, start + 1, last)
    return {
        stop: distance(sample, full.latents[min(stop + 1, full.steps)])
        for stop, sample in after.items()
        if stop > start + 1
    }


def sensitivity(
    rehearsal: Rehearsal, full: FullRun, label: Label, stop: int, deviation: Callable[[int | None, int, int], float]
) -> float:
    """The final error over the deviation, of the segment in which the one step before `stop` is filled."""
    start = stop - 2
    before = start - 1 if label.forecasts and start else None
    draft = Draft(tuple(s for s in range(full.steps) if s != stop - 1), (0,) * (full.steps - 1))
    plan = plan_of(draft, [label], rehearsal.layout, full.timesteps, rows_of(draft, [label], full))
    # The steps before those that it goes on from are known.
    end = rehearsal.end_of(plan, full, history_of(label, before, start)[-1])
    strayed = deviation(before, start, stop)
    error = distance(end, full.end)
    return error / strayed if strayed > 0 and math.isfinite(error) else 1.0
