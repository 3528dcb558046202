"""Quality: what a variant's pictures reach by themselves, or against real ones; not against the full run's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from toca.eval.metrics.bootstrap import Interval


@dataclass(frozen=True)
class VariantScore:
    """What one variant's pictures reach.

    Args:
        value (`float`): The figure.
        low, high (`float`, *optional*): Its 95 % interval, where it is a mean over samples.
        deviation (`float`, *optional*): Its standard deviation over subsets, where it is computed on such (KID).
        difference (`Interval`, *optional*): By how much it is above that of the full run, sample by sample.
    """

    value: float
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    difference: Interval | None = None


@dataclass(frozen=True)
class ScoreColumn:
    """One quality metric over the variants of a run; `toca.eval.findings.from_metrics.score_column` makes it from what
    `toca.eval.metrics` returns.

    Args:
        label (`str`): Heading, such as `"FID"`.
        digits (`int`): Digits after the point.
        sign (`int`): 1 where more is better and -1 where less is.
        tag (`str`): What all its scores were computed with: extractor, resize mode, reference, number of pictures.
            There is one for the whole column, for figures of different tags are never compared.
        scores (`Mapping[str, VariantScore]`): By the variant's name.
        refusals (`Mapping[str, str]`): For variants without a score, why there is none, in a sentence; by name.
        note (`str`, *optional*): What else must be known, such as the number of truncated prompts.
    """

    label: str
    digits: int
    sign: int
    tag: str
    scores: Mapping[str, VariantScore] = field(default_factory=dict)
    refusals: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def withheld(self) -> list[str]:
        """Why scores are not shown, each reason once with the number of its variants."""
        counts = Counter(self.refusals.values())
        return [f"{reason} ({count} variant{'s' if count > 1 else ''})" for reason, count in counts.items()]
