"""Every figure that compares samples with real pictures, at once."""

from __future__ import annotations

from toca.eval.metrics.distribution import fid, kid, precision, recall
from toca.eval.metrics.features import Features
from toca.eval.metrics.moments import Moments
from toca.eval.metrics.reference import Reference
from toca.eval.metrics.scores import Refusal, Score


def quality(samples: Features, reference: Reference) -> list[Score | Refusal]:
    """FID, KID, precision and recall, in this order; for each that cannot be shown, why.

    Args:
        samples (`Features`): Of the samples, merged from all ranks.
        reference (`Reference`): Of real pictures.

    Raises:
        DifferentTags: If their features were not extracted alike.
    """
    others = [metric(samples, reference) for metric in (kid, precision, recall)]
    return [fid(Moments.of(samples), reference), *others]
