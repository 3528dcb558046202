"""From the best paths of a graph to better plans, by whole runs.

A graph adds up what segments do apart. Together they do other things: a forecast goes on from full steps that have
themselves gone astray. So the drafts of a graph are run, and the best of them moved about, full step by full step and
label by label; of all moves those are tried first that the graph thinks most of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..axes.fills.fitted import Fitted
from ..plan import Plan
from .following import run_of
from .labels import Draft, Label, plan_of
from .moves import neighbours
from .notes import Notes
from .rehearsal import FullRun, PastTheCache, Rehearsal

WORST = 99.0
"""The loss of what cannot be run, or ends in numbers that are not finite; files have no word for infinity."""


@dataclass
class Trials:
    """Whole runs of drafts, each made once.

    Args:
        rehearsal (`Rehearsal`): The pipeline.
        full (`FullRun`): The run in full steps of as many steps as the drafts have.
        end (`torch.Tensor`): (B, ...): the final latents that they are compared to.
        labels (`Sequence[Label]`): What the drafts' numbers mean.
        notes (`Notes`): What has been measured before.
    """

    rehearsal: Rehearsal
    full: FullRun
    end: torch.Tensor
    labels: Sequence[Label]
    notes: Notes

    def loss(self, draft: Draft) -> float:
        """The mean over the samples of log10 of the mean squared error of the final latents: a tenth of it are
        decibels, as for pictures."""
        return self._ran(draft)["loss"]

    def plan(self, draft: Draft) -> Plan:
        """The plan that was run, with the weights that were fitted to the run."""
        weights = self._ran(draft)["weights"]
        fitted = weights and Fitted(tuple(map(tuple, weights["rows"])), tuple(weights["latents"]))
        return plan_of(draft, self.labels, self.rehearsal.layout, self.full.timesteps, fitted)

    def _ran(self, draft: Draft) -> dict[str, Any]:
        return self.notes.get(f"whole run {self.full.steps} {self._name(draft)}", lambda: self._run(draft))

    def _run(self, draft: Draft) -> dict[str, Any]:
        try:
            end, fitted = run_of(self.rehearsal, draft, self.labels, self.full, self._known(draft))
        except PastTheCache:
            return {"loss": WORST, "weights": None}
        weights = fitted and {"rows": fitted.rows, "latents": fitted.latents}
        return {"loss": log_error(end, self.end), "weights": weights}

    def _known(self, draft: Draft) -> int:
        """The first steps, which are full, and none of which any fill goes on from."""
        first = next((start for start, stop, _ in draft.segments(self.full.steps) if stop > start + 1), 0)
        farthest = max(label.looks_back for label in self.labels)
        return max(0, first + 1 - farthest)

    def _name(self, draft: Draft) -> str:
        segments = draft.segments(self.full.steps)
        return " ".join(
            f"{start}:{self.labels[n].name}" if stop > start + 1 else str(start) for start, stop, n in segments
        )


def log_error(latents: torch.Tensor, others: torch.Tensor) -> float:
    """The mean over the samples of log10 of the mean squared difference; `WORST` for what is not finite."""
    errors = (latents.float() - others.float()).flatten(1).square().mean(dim=1).clamp_min(1e-20)
    mean = float(errors.log10().mean())
    return min(mean, WORST) if math.isfinite(mean) else WORST


def refine(
    starts: Sequence[Draft],
    cost: Callable[[Draft], float],
    outlook: Callable[[Draft], float],
    size: tuple[int, int],
    tries: int,
) -> list[Draft]:
    """Drafts with as many full steps: from the best of several starts uphill, to the first move that is better, as
    long as there are runs left. All that was run is told, for what is less good may be faster.

    Args:
        starts (`Sequence[Draft]`): All of them are run.
        cost (`Callable`): Runs a draft, and says how bad it is.
        outlook (`Callable`): Says how bad the graph thinks that it is, by which moves are tried first; infinite for
            one that it knows nothing of.
        size (`tuple[int, int]`): Steps of the drafts, and how many labels there are.
        tries (`int`): Whole runs beyond the starts.

    Returns:
        `list[Draft]`: All that were run.
    """
    costs = {draft: cost(draft) for draft in starts}
    best, left = min(costs, key=costs.__getitem__), tries
    while left > 0:
        moves = (Draft(*choice) for choice in neighbours((best.full, best.labels), *size))
        untried = {move: outlook(move) for move in moves if move not in costs}
        hopeful = sorted((move for move in untried if math.isfinite(untried[move])), key=untried.__getitem__)[:left]
        better = None
        for move in hopeful:
            costs[move], left = cost(move), left - 1
            if costs[move] < costs[best]:
                better = move
                break
        if better is None:
            break
        best = better
    return list(costs)
