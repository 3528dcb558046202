"""Plans for all numbers of full steps: up from the best with one less, and down again from the best with one more.

What is best with so many full steps is seldom far from what is best with one more: each helps to find the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .labels import Draft
from .refinement import Outlook, Trials, refine

Losses = dict[Draft, float]


@dataclass
class Ladder:
    """A search by whole runs, number by number of full steps.

    Args:
        trials (`Trials`): Runs drafts.
        outlook (`Outlook`): What the graph thinks of them.
        known (`Mapping[int, Sequence[Draft]]`): The paths of the graph, by their full steps.
        starts (`int`): For each number, on the way up: drafts that are run, half of them paths of the graph and half
            what the best with one full step less becomes. On the way down half as many, of the best with one more.
        tries (`int`): Moves that are run beyond them; on the way down half as many.
        tell (`Callable`): Is told of each run, and how many full steps it has.

    Attributes:
        ran (`dict[int, Losses]`): All that was run, by its full steps.
    """

    trials: Trials
    outlook: Outlook
    known: Mapping[int, Sequence[Draft]]
    starts: int
    tries: int
    tell: Callable[[str, int], None]
    ran: dict[int, Losses] = field(default_factory=dict)

    def climb(self, counts: Sequence[int]) -> Losses:
        """Up and down, or up alone where no moves are run; what was run, and the loss of each."""
        half = (self.starts + 1) // 2
        for less, count in zip((None, *counts), counts, strict=False):
            grown = self._changed(less, count, Draft.grown, half)
            self._refine(count, [*self._first(self.known.get(count, ()), half), *grown], self.tries)
        for more, count in itertools.pairwise(reversed(counts)) if self.tries else ():
            shrunk, here = self._changed(more, count, Draft.shrunk, half), self._best(count)
            self._refine(count, [*([here] if here else []), *shrunk], self.tries // 2)
        return {draft: loss for losses in self.ran.values() for draft, loss in losses.items()}

    def _refine(self, count: int, starts: Sequence[Draft], tries: int) -> None:
        if starts:
            runs = refine(list(dict.fromkeys(starts)), self.trials, self.outlook, tries, self.tell)
            self.ran.setdefault(count, {}).update(runs)

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
        """Those that the graph thinks most of."""
        every = dict.fromkeys(drafts)
        return sorted(every, key=lambda draft: self.outlook.of(draft, self.trials.full.steps))[:number]

    def _best(self, count: int) -> Draft | None:
        losses = self.ran.get(count)
        return min(losses, key=losses.__getitem__) if losses else None
