"""Every figure that compares samples with real pictures, at once."""

from __future__ import annotations

from toca.eval.metrics.features import Features
from toca.eval.metrics.metric import ToReal
from toca.eval.metrics.reference import Reference
from toca.eval.metrics.registry import metrics
from toca.eval.metrics.scores import Refusal, SetScore


def against_real() -> tuple[str, ...]:
    """The keys of all metrics that compare samples with real pictures: FID, KID, precision, recall, and others'."""
    return tuple(metric.key for metric in metrics(ToReal))


def quality(samples: Features, reference: Reference) -> list[SetScore | Refusal]:
    """The figures of `against_real`, in that order; for each that cannot be shown, why.

    Args:
        samples (`Features`): Of the samples, merged from all ranks.
        reference (`Reference`): Of real pictures.

    Raises:
        DifferentTags: If their features were not extracted alike.
    """
    return [metric.compute(samples, reference) for metric in metrics(ToReal)]
