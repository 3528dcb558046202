"""What each method did step by step: a letter and a colour for each step, and how many steps of each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from toca.eval.findings.results import Row

LETTERS = {
    "F": "full: every site computed",
    "t": "token-wise: some tokens recomputed",
    "y": "forecast from earlier steps",
    "a": "blocks, or the whole stack, left out",
    "l": "blocks that run for the next step",
    "r": "everything reused",
    "m": "mixed: some of each, or images of a batch that did different things",
}
"""As in `toca.Plan.steps`."""

Run = tuple[str, str]  # a letter, and the same letter as often as it follows itself


@dataclass(frozen=True)
class Strip:
    """The steps of one or more batches that did the same."""

    steps: str
    batches: int

    @property
    def runs(self) -> list[Run]:
        """Equal steps that follow each other, together."""
        return [(letter, "".join(members)) for letter, members in groupby(self.steps)]


@dataclass(frozen=True)
class Trace:
    """One variant: a strip for each thing that batches did, the most frequent first, and the share of each letter over
    the steps of all batches."""

    name: str
    strips: list[Strip]
    shares: dict[str, float]


def traces(rows: list[Row]) -> list[Trace]:
    """One trace for each row that has steps to tell of."""
    return [_trace(row) for row in rows if any(row.steps_of_batches)]


def _trace(row: Row) -> Trace:
    strips = [Strip(steps, count) for steps, count in Counter(row.steps_of_batches).most_common()]
    return Trace(row.name, strips, shares(row.steps_of_batches))


def shares(steps_of_batches: Mapping[str, int]) -> dict[str, float]:
    """Share of each letter over the steps of all batches, from 0 to 1, the known letters in their order first.

    Args:
        steps_of_batches (`Mapping[str, int]`): Letters of a batch's steps -> batches that did that.
    """
    counts: Counter[str] = Counter()
    for steps, batches in steps_of_batches.items():
        for letter in steps:
            counts[letter] += batches
    order = [letter for letter in LETTERS if letter in counts] + sorted(counts.keys() - LETTERS.keys())
    return {letter: counts[letter] / counts.total() for letter in order}
