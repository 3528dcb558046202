"""Weights that lead a run back to the full one: fitted step by step while it runs.

Weights fitted to the full run's outputs leave something over in every step, and it adds up. Here each filled step is
fitted to where the latents *are*: its output is to take them to where the full run's are after the step, with all that
went astray before. A plan is then a solver made for the model, as are Bespoke Non-Stationary Solvers (arXiv
2403.01329); those are trained as a whole, and here least squares give the weights of one step after the other.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch

from ..axes.fills.fitted import Fitted
from .labels import Draft, Label, plan_of, unfitted
from .least_squares import least_squares
from .rehearsal import FullRun, Rehearsal
from .scheduler_watch import SchedulerStep


class Row(NamedTuple):
    """The weights of a step: of the last computed values, the newest first, and of the latents."""

    values: tuple[float, ...]
    latents: float = 0.0


TAKES_NO_NOTICE = 1e-6
"""A step's factor of the output below which it is none."""


@dataclass(frozen=True, eq=False)
class Following(Fitted):
    """The same weights, of which each step's are known only when the run has come to it.

    Args:
        told (`dict[int, Row]`): The row of each step, as far as it is known.
    """

    told: dict[int, Row] = field(default_factory=dict)

    name: ClassVar[str] = "following"

    def row(self, step: int) -> tuple[float, ...]:
        return self.told[step].values if step in self.told else self.rows[step]

    def latents_weight(self, step: int) -> float:
        return self.told[step].latents if step in self.told else 0.0


class Follower:
    """Fits the weights of a run, of which it is told each step.

    Args:
        full (`FullRun`): The same generation in full steps.
        computed, fitted (`Collection[int]`): The steps that run the model, and those for which weights are wanted.
        values (`int`): Of how many last computed outputs.

    Attributes:
        fill (`Following`): For the plan that runs.
    """

    def __init__(self, full: FullRun, computed: Collection[int], fitted: Collection[int], values: int):
        self.full, self.computed, self.fitted = full, frozenset(computed), frozenset(fitted)
        self.values, self.fill = values, Following(unfitted(values, full.steps))
        self._outputs: list[torch.Tensor] = []

    def look(self, step: SchedulerStep) -> None:
        """A step is about to be taken."""
        if step.number in self.computed:
            self._outputs.insert(0, step.model_output.detach().clone())
            del self._outputs[self.values :]

    def arrived(self, step: int, sample: torch.Tensor, scheduler: Any) -> None:
        """The latents have come to a step; the scheduler is about to take it."""
        if step in self.fitted:
            wanted = wanted_output(self.full, step, sample, scheduler, self._outputs[0])
            row = fitted_row(self._outputs, wanted, self.full.arriving(step, sample))
            missing = self.values - len(row.values)
            self.fill.told[step] = row._replace(values=(*row.values, *[0.0] * missing))

    @property
    def frozen(self) -> Fitted:
        """The weights of the run, when it is over."""
        steps = range(self.full.steps)
        latents = tuple(map(self.fill.latents_weight, steps))
        return Fitted(tuple(map(self.fill.row, steps)), latents if any(latents) else ())


def run_of(
    rehearsal: Rehearsal, draft: Draft, labels: Sequence[Label], full: FullRun, until: int = 0
) -> tuple[torch.Tensor, Fitted | None]:
    """The final latents (B, ...) under a draft, and the weights that were fitted on the way, where there are any.

    Args:
        rehearsal (`Rehearsal`): Runs it.
        draft (`Draft`): The draft.
        labels (`Sequence[Label]`): What its numbers mean.
        full (`FullRun`): The same generation in full steps.
        until (`int`, defaults to 0): The steps before this one are known.
    """
    filled = draft.filled(full.steps)
    fitted = {step: labels[number].fitted for step, number in filled.items() if labels[number].fitted}
    if not fitted:
        plan = plan_of(draft, labels, rehearsal.layout, full.timesteps)
        return rehearsal.end_of(plan, full, until), None
    follower = Follower(full, draft.full, fitted, max(fitted.values()))
    plan = plan_of(draft, labels, rehearsal.layout, full.timesteps, follower.fill)
    end = rehearsal.end_of(plan, full, until, follower)
    return end, follower.frozen


def wanted_output(full: FullRun, step: int, sample: torch.Tensor, scheduler: Any, like: torch.Tensor) -> torch.Tensor:
    """The output of the model that takes the latents to where the full run's are after a step.

    What a deterministic scheduler's step makes is a constant plus a number times the output: two steps tell both.

    Args:
        full (`FullRun`): The full run.
        step (`int`): The step.
        sample (`torch.Tensor`): (B, ...): the latents before it.
        scheduler: As it is before the step; a copy takes it.
        like (`torch.Tensor`): (B, ...): about such an output as is looked for.

    Returns:
        `torch.Tensor`: (B, ...); the full run's output where the step takes no notice of it, or takes something else
            along, such as variances.
    """
    if like.shape != sample.shape:
        return full.guided[step]
    snapshot = full.snapshots[step]
    without, with_it = (
        snapshot.step(copy.deepcopy(scheduler), output, sample).double() for output in (torch.zeros_like(like), like)
    )
    output = like.double()
    factor = float(((with_it - without) * output).sum() / output.square().sum().clamp_min(1e-300))
    if abs(factor) < TAKES_NO_NOTICE:
        return full.guided[step]
    return output + (full.latents[step + 1].double() - with_it) / factor


def fitted_row(values: Sequence[torch.Tensor], wanted: torch.Tensor, latents: torch.Tensor | None = None) -> Row:
    """The weights of some outputs, latest first, and of the latents, that come nearest to another output, by least
    squares over all samples. ScalingCache's slope is the case of two values whose weights add up to one.

    Args:
        values (`Sequence[torch.Tensor]`): (B, ...) each.
        wanted (`torch.Tensor`): (B, ...).
        latents (`torch.Tensor`, *optional*): (B, ...), as they arrive where the outputs do; `None` where they have no
            part.
    """
    flat = [value.double().flatten() for value in values]
    # In the newest value and the changes since the others, which are far from parallel, as the values are not.
    basis = [flat[0], *(flat[0] - value for value in flat[1:])]
    if latents is not None:
        basis.append(latents.double().flatten())
    first, *others = least_squares(torch.stack(basis), wanted.double().flatten() - flat[0])
    of_latents = 0.0 if latents is None else others.pop()
    return Row((1.0 + first + sum(others), *(-weight for weight in others)), of_latents)

