"""What is kept of the model's own output, and what takes its place: spans around the model."""

from __future__ import annotations

from typing import Any

import torch

from ..axes.fills import Fill
from ..axes.spans import Span
from ..memory.terms import Terms
from ..models import CallShape, FamilySpec
from ..models.streams import IMAGE, place_of
from ..plan.table import PlanTable


class ModelSpan:
    """Stores and fills spans at the model's two ends.

    Args:
        spec (`FamilySpec`): Where the channels are.
    """

    def __init__(self, spec: FamilySpec):
        self.channel_dim, self.predicts = spec.channel_dim, spec.predicts

    def store(
        self,
        plan: PlanTable,
        span: Span,
        terms: Terms,
        scales: list[float],
        latents: torch.Tensor,
        sample: torch.Tensor,
        shape: CallShape,
    ) -> None:
        """Remember the quantity of a span whose blocks have run.

        Args:
            plan (`PlanTable`): The plan.
            span (`Span`): The span.
            terms (`Terms`): What is kept of it.
            scales (`list[float]`): With which it enters the terms.
            latents, sample (`torch.Tensor`): (B, ...): the model's input and output.
            shape (`CallShape`): Of the call.
        """
        fill = plan.fill if plan.kept_spans[span] else None
        # A copy: the pipeline may go on writing in what it is given.
        value = self._with_latents(sample, latents, -1, shape) if span.keeps == "residual" else sample.clone()
        if fill is None:
            terms.renew(value)
        elif fill.reads_latents:
            terms.renew((value, self._shared(latents, value)), scales, fill.renewal)
        else:
            terms.renew(value, scales, fill.renewal)

    def fill(
        self,
        plan: PlanTable,
        span: Span,
        terms: Terms,
        weights: list[Any],
        step: int,
        latents: torch.Tensor,
        shape: CallShape,
    ) -> torch.Tensor:
        """What takes the place of the output of a model that has not run; the arguments are `store`'s."""
        fill = plan.fill if span.forecasts else None
        if fill is not None and fill.reads_latents:
            return self._estimated(plan, fill, terms, step, latents)
        filled = terms.total(weights) if fill is None else terms.total(weights, fill.combine_for(shape))
        weight = 1.0 if span.keeps == "residual" else 0.0 if fill is None else fill.latents_weight(step)
        if weight:
            return self._with_latents(filled, latents, weight, shape)
        # The pipeline may write in what it is given.
        return filled.clone() if terms.is_held(filled) else filled

    def _with_latents(
        self, sample: torch.Tensor, latents: torch.Tensor, weight: float, shape: CallShape
    ) -> torch.Tensor:
        """`sample + weight * latents` at the image's places."""
        if self.predicts == IMAGE:
            return with_latents(sample, latents, weight, self.channel_dim)
        image = place_of(IMAGE, self.predicts, shape.counts(self.predicts))
        changed = sample.clone()
        changed[:, image] = with_latents(sample[:, image], latents, weight, self.channel_dim)
        return changed

    def _estimated(self, plan: PlanTable, fill: Fill, terms: Terms, step: int, latents: torch.Tensor) -> torch.Tensor:
        """The estimate of a fill that reads latents; it is remembered as if it had been computed."""
        kept = [terms.value, *terms.higher][: len(terms.history)]
        latents = self._shared(latents, terms.value[0])
        value = fill.estimate(kept, latents, step, terms.history, plan.timeline)
        terms.renew((value, latents), terms.scales(step, fill, plan.timeline), fill.renewal)
        return value.clone()

    def _shared(self, latents: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
        """A copy of those channels of the model's input that its output has too."""
        return latents.narrow(self.channel_dim, 0, sample.shape[self.channel_dim]).clone()


def with_latents(sample: torch.Tensor, latents: torch.Tensor, weight: float, dim: int) -> torch.Tensor:
    """`sample + weight * latents` over the channels, in dimension `dim`, that both have. Where the model returns more
    than it is given (a learned variance) the others stay as they are; where it is given more than it returns (the
    picture to fill, a control) they do not count."""
    if sample.shape == latents.shape:
        return torch.add(sample, latents, alpha=weight)
    common = min(sample.shape[dim], latents.shape[dim])
    both = torch.add(sample.narrow(dim, 0, common), latents.narrow(dim, 0, common), alpha=weight)
    return torch.cat([both, sample.narrow(dim, common, sample.shape[dim] - common)], dim=dim)
