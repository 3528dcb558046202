"""How much faster a method's denoising loop is, from the seconds of single steps.

Which steps a gate fills is the same in every run; what a step of a kind takes differs by chance. So a speed-up by the
clock is told by the kinds of a run's steps, once enough of each have been timed in turns with the full run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import mean, median, quantiles

from .generations import Generation

FULL, FIRST = "F", "first"


class Pace:
    """Seconds of the steps of a method by their kinds, against each other and against those of the full run. The first
    step is a kind of its own: it pays for what comes once a generation."""

    def __init__(self) -> None:
        self._kinds: dict[str, list[float]] = {}
        self._uncached_first: list[float] = []
        self._uncached: list[float] = []

    def add(self, run: Generation) -> None:
        """Take in a run of the method: what its steps took in units of one of its full steps."""
        unit = _full_step(run)
        if unit is None:
            return
        for kind, seconds in _by_kind(run).items():
            self._kinds.setdefault(kind, []).append(_clipped_mean(seconds) / unit)

    def add_pair(self, full: Generation, run: Generation) -> None:
        """Take in a run of the method and a full one before it."""
        self.add(run)
        uncached, unit = _full_step(full), _full_step(run)
        if uncached is not None and unit is not None:
            self._uncached.append(uncached / unit)
            self._uncached_first.append(full.step_seconds[0] / uncached)

    def speedup(self, runs: Sequence[str]) -> float:
        """Seconds of full runs over those of runs with these steps, one letter a step. A kind that was never timed
        beside a full step counts as one. There must have been a pair."""
        unit = {kind: median(ratios) for kind, ratios in self._kinds.items()}
        full = median(self._uncached) * (len(runs[0]) - 1 + median(self._uncached_first))
        counts = sum((Counter(_kinds(steps)) for steps in runs), Counter())
        return len(runs) * full / sum(count * unit.get(kind, 1.0) for kind, count in counts.items())


def _kinds(steps: str) -> list[str]:
    return [FIRST, *steps[1:]]


def _by_kind(run: Generation) -> dict[str, list[float]]:
    """Seconds of the steps of each kind. Behind the last step no scheduler's is seen: it counts where there is no
    other of its kind."""
    found: dict[str, list[float]] = {}
    kinds = _kinds(run.steps)
    for kind, seconds in zip(kinds[:-1], run.step_seconds, strict=False):
        found.setdefault(kind, []).append(seconds)
    found.setdefault(kinds[-1], [run.step_seconds[-1]])
    return found


def _full_step(run: Generation) -> float | None:
    """Seconds of a full step that is neither the first nor the last; `None` where there is none."""
    seconds = [each for kind, each in zip(run.steps[1:-1], run.step_seconds[1:-1], strict=True) if kind == FULL]
    return _clipped_mean(seconds) if seconds else None


def _clipped_mean(values: Sequence[float]) -> float:
    """The mean, with values that stand out (by Tukey's fences) moved in to where they no longer do."""
    if len(values) < 4:
        return median(values) if len(values) == 3 else mean(values)
    first, _, third = quantiles(values, n=4, method="inclusive")
    reach = 1.5 * (third - first)
    return mean(min(max(value, first - reach), third + reach) for value in values)
