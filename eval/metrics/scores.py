"""What metrics return: a figure, a figure of each sample, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass

from toca.eval.metrics import bootstrap
from toca.eval.metrics.tags import DifferentTags, ExtractorTag, ResultTag, check_same


@dataclass(frozen=True)
class SetScore:
    """A figure of a whole set of pictures.

    Args:
        metric (`str`): Which one.
        value (`float`): The figure.
        std (`float` or `None`): Its spread over the subsets or splits that the metric is computed on; `None` where
            there are none.
        tag (`ResultTag`): What it was computed with.
    """

    metric: str
    value: float
    std: float | None
    tag: ResultTag


@dataclass(frozen=True)
class Refusal:
    """A figure that is not shown.

    Args:
        metric (`str`): Which one.
        reason (`str`): Why, and what to do, in one sentence.
    """

    metric: str
    reason: str


@dataclass(frozen=True)
class SampleScores:
    """A figure of each sample.

    Args:
        metric (`str`): Which one; more is better.
        values (`tuple[float, ...]`): In the order of the samples.
        tag (`ExtractorTag`): The model that judged.
        truncated (`int` or `None`): How many of the different prompts were too long for the model and were cut;
            `None` where no prompt is read.
    """

    metric: str
    values: tuple[float, ...]
    tag: ExtractorTag
    truncated: int | None = None


def difference(ours: SetScore, theirs: SetScore) -> float:
    """`ours - theirs`.

    Raises:
        DifferentTags: If they are not of one metric and one tag.
    """
    _check_metric(ours.metric, theirs.metric)
    check_same(ours.tag, theirs.tag)
    return ours.value - theirs.value


def differences(ours: SampleScores, theirs: SampleScores) -> list[float | None]:
    """`ours - theirs`, sample by sample, for `toca.eval.metrics.bootstrap.mean_interval`.

    Raises:
        DifferentTags: If they are not of one metric and one tag.
        ValueError: If they are not of the same number of samples.
    """
    _check_metric(ours.metric, theirs.metric)
    check_same(ours.tag, theirs.tag)
    if len(ours.values) != len(theirs.values):
        counts = f"{len(ours.values)} samples cannot be paired with {len(theirs.values)}"
        raise ValueError(f"{counts}: score the same samples of both.")
    return bootstrap.differences(ours.values, theirs.values, 1)


def _check_metric(ours: str, theirs: str) -> None:
    if ours != theirs:
        raise DifferentTags(f"{ours} cannot be compared with {theirs}: compare figures of one metric.")
