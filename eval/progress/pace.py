"""How fast samples are made, by the moments at which their batches were noted as done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

HOUR = 3600.0
PAUSE = 10.0
"""A process that takes so many times as long as it usually does for a batch was not at work."""
LEAST_PAUSE = 60.0
"""Seconds that are no pause yet."""


@dataclass(frozen=True)
class Done:
    """A batch that is done.

    Args:
        variant, process (`str`): Whose, and who made it.
        moment (`float`): When, in seconds.
        samples (`int`): How many it is of.
    """

    variant: str
    process: str
    moment: float
    samples: int


@dataclass(frozen=True)
class Pace:
    """How fast samples are made.

    Args:
        samples (`int`): How many were made, of those whose time is known.
        seconds (`float`): In which any process was at work on them.
        working (`float`): The same of all processes, added up.
    """

    samples: int
    seconds: float
    working: float

    @property
    def an_hour(self) -> float:
        """Samples an hour."""
        return self.samples * HOUR / self.seconds

    @property
    def each(self) -> float:
        """Seconds a sample by all processes together."""
        return self.seconds / self.samples

    @property
    def alone(self) -> float:
        """Seconds a sample by one process."""
        return self.working / self.samples


def paces(done: Iterable[Done]) -> dict[str, Pace]:
    """How fast the samples of each variant were made; nothing of those of which no batch has a time.

    A batch took from the one before it of the same process, whichever variant's that was. What was taken up again
    after a pause has no time.
    """
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    samples: dict[str, int] = defaultdict(int)
    for batches in _by_process(done):
        gaps = [later.moment - earlier.moment for earlier, later in pairwise(batches)]
        for batch, gap in zip(batches[1:], gaps, strict=True):
            if 0 < gap <= pause(gaps):
                spans[batch.variant].append((batch.moment - gap, batch.moment))
                samples[batch.variant] += batch.samples
    return {
        name: Pace(samples[name], _covered(own), sum(end - start for start, end in own)) for name, own in spans.items()
    }


def pause(gaps: Sequence[float]) -> float:
    """Seconds beyond which one of such gaps is a pause."""
    return max(LEAST_PAUSE, PAUSE * median(gaps))


def _by_process(done: Iterable[Done]) -> list[list[Done]]:
    found: dict[str, list[Done]] = defaultdict(list)
    for each in done:
        found[each.process].append(each)
    return [sorted(batches, key=lambda batch: batch.moment) for batches in found.values()]


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of what lies in any of them."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
