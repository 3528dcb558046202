"""From what the metrics return to a column of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from toca.eval.findings.quality import ScoreColumn, VariantScore
from toca.eval.metrics.bootstrap import Interval, mean_interval
from toca.eval.metrics.metric import Metric
from toca.eval.metrics.registry import find_metric, metrics
from toca.eval.metrics.scores import Refusal, SampleScores, SetScore, differences
from toca.eval.metrics.tags import check_same


def score_column(
    found: Mapping[str, SetScore | SampleScores | Refusal], prompts: Sequence[int], full: str | None = None
) -> ScoreColumn:
    """One metric of all variants. What was refused, such as a FID of too few pictures, stands there with its reason.

    Args:
        found (`Mapping`): What the metric returned, by the variant's name.
        prompts (`Sequence[int]`): The prompt of each sample, for the bootstrap of figures that are per sample.
        full (`str`, *optional*): The name of the full run, to which such figures have a difference.

    Raises:
        DifferentTags: If two figures were not computed alike: they are never compared.
        ValueError: If the figures are of different metrics, of none, or of one that nobody knows how to show.
    """
    names = sorted({each.metric for each in found.values()})
    metric = find_metric(names[0]) if len(names) == 1 else None
    if metric is None:
        known = ", ".join(each.key for each in metrics(Metric))
        raise ValueError(f"A column has one metric of {known}; got {', '.join(names) or 'none'}.")
    figures = {variant: each for variant, each in found.items() if not isinstance(each, Refusal)}
    tags = [each.tag for each in figures.values()]
    for tag in tags:
        check_same(tags[0], tag)
    refusals = {variant: each.reason for variant, each in found.items() if isinstance(each, Refusal)}
    scores = {variant: _score(each, prompts) for variant, each in figures.items()}
    for variant, gap in _gaps(figures, prompts, full).items():
        scores[variant] = replace(scores[variant], difference=gap)
    heading = metric.heading
    told = f"{tags[0]}" if tags else ""
    return ScoreColumn(heading.label, heading.digits, heading.sign, told, scores, refusals, _note(figures))


def _score(figure: SetScore | SampleScores, prompts: Sequence[int]) -> VariantScore:
    if isinstance(figure, SetScore):
        return VariantScore(figure.value, deviation=figure.std)
    interval = mean_interval(figure.values, prompts)
    if interval is None:
        raise ValueError(f"{figure.metric} has no values: score at least one sample.")
    return VariantScore(interval.mean, interval.low, interval.high)


def _gaps(
    figures: Mapping[str, SetScore | SampleScores], prompts: Sequence[int], full: str | None
) -> dict[str, Interval | None]:
    """Of every other variant the difference to the full run, by the paired bootstrap."""
    theirs = figures.get(full or "")
    if not isinstance(theirs, SampleScores):
        return {}
    ours = {name: each for name, each in figures.items() if name != full and isinstance(each, SampleScores)}
    return {name: mean_interval(differences(each, theirs), prompts) for name, each in ours.items()}


def _note(figures: Mapping[str, SetScore | SampleScores]) -> str:
    """How many prompts the model that judged has not read to their end; the prompts are the same for all variants."""
    counts = [each.truncated for each in figures.values() if isinstance(each, SampleScores)]
    truncated = next((count for count in counts if count is not None), None)
    return "" if truncated is None else f"{truncated} prompts were too long for the model and were cut."
