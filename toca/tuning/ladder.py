"""Plans for all numbers of full steps: up from the best with one less, and down again from the best with one more.

What is best with so many full steps is seldom far from what is best with one more: each helps to find the other.
"""

from __future__ import annotations

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
        """Up and down; what was run, and the loss of each."""
        half, steps = (self.starts + 1) // 2, self.trials.full.steps
        for count in counts:
            less = self._best(count - 1)
            grown = less.grown(steps) if less else []
            self._refine(count, [*self._first(self.known.get(count, ()), half), *self._first(grown, half)], self.tries)
        for count in reversed(counts[:-1]):
            more, here = self._best(count + 1), self._best(count)
            shrunk = more.shrunk(steps) if more else []
            self._refine(count, [*([here] if here else []), *self._first(shrunk, half)], self.tries // 2)
        return {draft: loss for losses in self.ran.values() for draft, loss in losses.items()}

    def _refine(self, count: int, starts: Sequence[Draft], tries: int) -> None:
        if starts:
            runs = refine(list(dict.fromkeys(starts)), self.trials, self.outlook, tries, self.tell)
            self.ran.setdefault(count, {}).update(runs)

    def _first(self, drafts: Iterable[Draft], number: int) -> list[Draft]:
        """Those that the graph thinks most of."""
        return sorted(drafts, key=lambda draft: self.outlook.of(draft, self.trials.full.steps))[:number]

    def _best(self, count: int) -> Draft | None:
        losses = self.ran.get(count)
        return min(losses, key=losses.__getitem__) if losses else None
