"""The numbers of forecasts: how a computed value enters what is kept, and what fills is made of it."""

from __future__ import annotations

from typing import Any

import torch

from ..axes.fills import Fill
from ..axes.spans import Span
from ..memory.terms import Terms
from ..models import Site
from ..plan.table import PlanTable
from .job import Job


class Forecasts:
    """The numbers of a pass for all its sites, worked out once for those that were computed in the same steps.

    Args:
        plan (`PlanTable`): The plan.
        fill (`Fill`): Its fill.
        step (`int`): The step.
        told (`list` or `None`): Weights that the gate tells, for all sites.
        compiled (`bool`): Whether the blocks are compiled. Each site then has tensors of its own, for graphs are
            guarded on which inputs are the same.
    """

    def __init__(self, plan: PlanTable, fill: Fill, step: int, told: list[Any] | None, compiled: bool):
        self.fill, self.step, self.timeline = fill, step, plan.timeline
        self.told, self.compiled = told, compiled
        self._alike = type(fill).weights_at is Fill.weights_at
        self._scales: dict[tuple[int, ...], list[float]] = {}
        self._weights: dict[tuple[int, ...], list[Any]] = {}

    def scales(self, history: tuple[int, ...]) -> list[Any]:
        """With which a value that the step computes enters the terms; `history` has the step in it."""
        if history not in self._scales:
            self._scales[history] = self.fill.scales(history, self.timeline)
        return numbers(self._scales[history], self.compiled)

    def weights(self, site: Site, history: tuple[int, ...]) -> list[Any]:
        """Of the terms in what fills a site."""
        if self.told:
            return as_weights(self.told, self.compiled)
        if not self._alike:
            return self._of(site, history)
        if history not in self._weights or self.compiled:
            self._weights[history] = self._of(site, history)
        return self._weights[history]

    def _of(self, site: Site, history: tuple[int, ...]) -> list[Any]:
        return as_weights(fill_weights(self.fill.weights_at(site, self.step, history, self.timeline)), self.compiled)


def span_scales(plan: PlanTable, span: Span, terms: Terms, step: int) -> list[float]:
    """Scales with which what is kept of a span enters the terms; none where it is never forecast."""
    if plan.fill is None or not plan.kept_spans[span]:
        return []
    return terms.scales(step, plan.fill, plan.timeline)


def span_weights(plan: PlanTable, job: Job, span: Span, terms: Terms, step: int) -> list[Any]:
    """Weights of what fills a span: the gate's where the fill reads them and it tells any, else the fill's; none where
    it is reused."""
    if plan.fill is None or not span.forecasts:
        return []
    told = gate_weights(plan, job)
    return fill_weights(plan.fill.weights(step, terms.history, plan.timeline)) if told is None else told


def gate_weights(plan: PlanTable, job: Job) -> list[Any] | None:
    """The weights that the gate tells of a filled step, for each row where images differ; `None` where it tells none,
    or the fill does not listen."""
    now, filled = job.observation, not (job.undecided or job.computed)
    if plan.fill is None or not plan.fill.reads_gate or plan.gate is None or now is None or not filled:
        return None
    weights = plan.gate.weights_of(now)
    return None if weights is None else [job.part.by_row(weight) for weight in weights]


def fill_weights(weights: list[float]) -> list[float]:
    """The weights of a fill; none where it is the last value alone, which is reuse."""
    return [] if weights == [1.0] else weights


def numbers(values: list[Any], compiled: bool) -> list[Any]:
    """Numbers of a forecast; for compiled blocks tensors, for a number would be compiled in."""
    return [torch.as_tensor(number) for number in values] if compiled else values


def as_weights(weights: list[Any], compiled: bool) -> list[Any]:
    """The same of weights. That of a newest value which counts as it is stays a number: it is always 1."""
    plain = 1 if weights and weights[0] == 1.0 else 0
    return [*weights[:plain], *numbers(weights[plain:], compiled)]
