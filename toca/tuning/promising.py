"""Which labels a search is worth: a few whole runs say so, before the segments of each are measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .labels import Draft, Label
from .refinement import WORST, Trials

SHARES = (0.35, 0.5)
"""Of the steps: how many are full in the runs that are looked at."""
AS_FAST = 1.1
"""A step that takes so many times as long is as fast, as far as the clock can tell. It tells less of a step, which may
take the hundredth of a full one, than of the sum of a plan's steps (`search.ALIKE`)."""


def promising(trials: Trials, seconds: Sequence[float], tell: Callable[[str, int], None]) -> tuple[Label, ...]:
    """The labels that in one of the runs no other is faster and better than, of those that go on from as little: from
    one computed step, which all segments have before them, or from several.

    Args:
        trials (`Trials`): Runs drafts of all labels.
        seconds (`Sequence[float]`): Of a step filled by each label.
        tell (`Callable`): Is told of each run, and how many full steps it has.
    """
    kept: set[int] = set()
    for share in SHARES:
        full = _spread(trials.full.steps, share, trials.full.must_be_full)
        losses = {}
        for number in range(len(trials.labels)):
            tell("whole runs of one label", len(full))
            losses[number] = trials.loss(Draft(full, (number,) * len(full)))
        for group in (True, False):
            alike = [n for n, label in enumerate(trials.labels) if (label.looks_back > 1) is group]
            kept |= {n for n in alike if losses[n] < WORST and not _beaten(n, alike, seconds, losses)}
    return tuple(label for number, label in enumerate(trials.labels) if number in kept)


def calls(labels: int, steps: int) -> int:
    """How many calls of the model that takes for so many labels, without what else must be full."""
    return labels * sum(_count(steps, share) for share in SHARES)


def _count(steps: int, share: float) -> int:
    return max(2, round(share * steps))


def _spread(steps: int, share: float, forced: frozenset[int]) -> tuple[int, ...]:
    """Full steps at even distances, and those that must be."""
    count = _count(steps, share)
    return tuple(sorted({i * steps // count for i in range(count)} | set(forced)))


def _beaten(number: int, others: Sequence[int], seconds: Sequence[float], losses: dict[int, float]) -> bool:
    return any(
        losses[other] < losses[number] and seconds[other] < seconds[number] * AS_FAST
        for other in others
        if other != number
    )
