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
from .following import fitted_row, run_of, wanted_output
from .labels import Draft, Label, plan_of
from .rehearsal import FullRun, Rehearsal

Deviations = dict[int, float]
"""By the step that a segment ends at."""


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


def output_deviations(full: FullRun, label: Label, before: int | None, start: int, last: int) -> Deviations:
    """The deviations of a label of the model's output, for segments from `start` on that end at `last` or before.

    Guidance is linear in what the model returns, so that the guided output is filled as its branches would be; only
    the scheduler runs.
    """
    timeline = Timeline(full.steps, full.timesteps)
    history = history_of(label, before, start)
    values = [full.guided[known] for known in history]
    sample = full.latents[start + 1]
    found: Deviations = {}
    scheduler = full.snapshots[start + 1].resumed() if start + 1 < full.steps else None
    for step in range(start + 1, min(last, full.steps)):
        if label.fitted:
            wanted, latents = wanted_output(full, step, sample, scheduler, values[0]), full.arriving(step, sample)
            row = fitted_row(values, wanted, latents)
            parts = values if latents is None else [*values, latents]
            output = _sum(parts, (*row.values, row.latents))
        else:
            output = _sum(values, [1.0] if label.fill is None else label.fill.weights(step, history, timeline))
        sample = full.snapshots[step].step(scheduler, output, sample)
        stop = step + 1
        if stop == full.steps:
            found[stop] = distance(sample, full.end)
            continue
        # One step more, with the output of the full run: what the solver remembers counts too.
        ahead = copy.deepcopy(scheduler)
        found[stop] = distance(full.snapshots[stop].step(ahead, full.guided[stop], sample), full.latents[stop + 1])
    return found


def _sum(values: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
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
    # The steps before those that it goes on from are known.
    end, _ = run_of(rehearsal, draft, [label], full, history_of(label, before, start)[-1])
    strayed = deviation(before, start, stop)
    error = distance(end, full.end)
    return error / strayed if strayed > 0 and math.isfinite(error) else 1.0
