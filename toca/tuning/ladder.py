"""Plans for all numbers of full steps: up from the best with one less, and down again from the best with one more.

What is best with so many full steps is seldom far from what is best with one more: each helps to find the other. On
every rung the graph learns from all that was run before; its paths, which take longer, are found anew at the top.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .labels import Draft
from .prospect import Paths, Prospect
from .refinement import Trials, refine

Losses = dict[Draft, float]


@dataclass
class Ladder:
    """A search by whole runs, number by number of full steps.

    Args:
        trials (`Trials`): Runs drafts.
        learn (`Callable`): `(losses of drafts that were run, paths that are known or None) -> Prospect`.
        starts (`int`): For each number: drafts that are run, half of them paths of the graph, and half what the best
            becomes with one full step more, or one less.
        tries (`int`): Moves that are run beyond them, on the way down; half as many on the way up.
        tell (`Callable`): Is told of each run, and how many full steps it has.

    Attributes:
        ran (`dict[int, Losses]`): All that was run, by its full steps.
    """

    trials: Trials
    learn: Callable[[Mapping[Draft, float], Paths | None], Prospect]
    starts: int
    tries: int
    tell: Callable[[str, int], None]
    ran: dict[int, Losses] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.prospect = self.learn(self._losses, None)

    def climb(self, counts: Sequence[int]) -> Losses:
        """Up and down, or up alone where no moves are run; what was run, and the loss of each."""
        for less, count in zip((None, *counts), counts, strict=False):
            self._refine(count, self._starts(less, count, Draft.grown), self.tries // 2)
        if self.tries:
            self.prospect = self.learn(self._losses, None)
        for more, count in itertools.pairwise(reversed(counts)) if self.tries else ():
            here = self._best(count)
            starts = self._starts(more, count, Draft.shrunk)
            self._refine(count, [here, *starts] if here else starts, self.tries)
        return self._losses

    @property
    def _losses(self) -> Losses:
        return {draft: loss for losses in self.ran.values() for draft, loss in losses.items()}

    def _starts(self, other: int | None, count: int, change: Callable[[Draft, int], list[Draft]]) -> list[Draft]:
        """Paths of the graph, and what the best with another number of full steps becomes."""
        half = (self.starts + 1) // 2
        return [*self._first(self.prospect.known.get(count, ()), half), *self._changed(other, count, change, half)]

    def _refine(self, count: int, starts: Sequence[Draft], tries: int) -> None:
        if starts:
            size = self.trials.full.steps, len(self.trials.labels)
            drafts = refine(list(dict.fromkeys(starts)), self._cost, self.prospect.cost_of, size, tries)
            self.ran.setdefault(count, {}).update({draft: self.trials.loss(draft) for draft in drafts})
            self.prospect = self.learn(self._losses, self.prospect.known)

    def _cost(self, draft: Draft) -> float:
        """How far a run of the draft goes astray, and what its time is worth."""
        self.tell("whole runs", len(draft.full))
        return self.trials.loss(draft) + self.prospect.time_of(draft)

    def _changed(
        self, count: int | None, wanted: int, change: Callable[[Draft, int], list[Draft]], number: int
    ) -> list[Draft]:
        """What the best with so many full steps becomes on the way to the number that is wanted, step by step."""
        best = None if count is None else self._best(count)
        if count is None or best is None:
            return []
        drafts = [best]
        for _ in range(abs(wanted - count)):
            drafts = self._first((new for draft in drafts for new in change(draft, self.trials.full.steps)), number)
        return drafts

    def _first(self, drafts: Iterable[Draft], number: int) -> list[Draft]:
        """Those of which most is expected."""
        return sorted(dict.fromkeys(drafts), key=self.prospect.cost_of)[:number]

    def _best(self, count: int) -> Draft | None:
        losses = self.ran.get(count)
        return min(losses, key=lambda draft: losses[draft] + self.prospect.time_of(draft)) if losses else None
