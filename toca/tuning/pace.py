"""How much faster a method's denoising loop is, from the seconds of single steps.

Which steps a gate fills is the same in every run; what a step takes differs by chance. So runs of the method are timed
in turns with full ones, and the speed-up of any other run by the clock is told by the kinds of its steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import mean, median

from .generations import Generation

FULL, FIRST = "F", "first"
FAR_OUT = 10.0
"""How many times the median a step may take: what took longer was not the step."""


class Pace:
    """Mean seconds of the steps of a method by their kinds, and of the full run. The first step is a kind of its own:
    it pays for what comes once a generation.

    Args:
        full (`Sequence[Generation]`): Full runs.
        runs (`Sequence[Generation]`): Runs of the method, at any setting, in turns with them.
    """

    def __init__(self, full: Sequence[Generation], runs: Sequence[Generation]) -> None:
        self._uncached = _means(full)
        self._kinds = {FULL: self._uncached[FULL]} | _means(runs)
        filled = [seconds for kind, seconds in self._kinds.items() if kind not in (FULL, FIRST)]
        self._mixed = (self._kinds[FULL] + mean(filled or [self._kinds[FULL]])) / 2

    def seconds(self, steps: str) -> float:
        """Of a denoising loop with these steps, one letter a step. A kind that was never timed, such as steps that the
        branches of guidance decide differently, counts as halfway between a full step and a filled one."""
        kinds = Counter(_kinds(steps))
        return sum(count * self._kinds.get(kind, self._mixed) for kind, count in kinds.items())

    def speedup(self, runs: Sequence[str]) -> float:
        """Seconds of full runs over those of runs with these steps."""
        full = self._uncached[FIRST] + (len(runs[0]) - 1) * self._uncached[FULL]
        return len(runs) * full / sum(self.seconds(steps) for steps in runs)


def _kinds(steps: str) -> list[str]:
    return [FIRST, *steps[1:]]


def _means(runs: Iterable[Generation]) -> dict[str, float]:
    """Mean seconds of the steps of each kind. Behind the last step no scheduler's is seen: it counts where there is no
    other of its kind."""
    inner: dict[str, list[float]] = {}
    last: dict[str, list[float]] = {}
    for run in runs:
        kinds = _kinds(run.steps)
        for kind, seconds in zip(kinds[:-1], run.step_seconds, strict=False):
            inner.setdefault(kind, []).append(seconds)
        last.setdefault(kinds[-1], []).append(run.step_seconds[-1])
    return {kind: _mean(seconds) for kind, seconds in (last | inner).items()}


def _mean(values: Sequence[float]) -> float:
    most = FAR_OUT * median(values)
    return mean(min(value, most) for value in values)
