"""Seconds of a full step and of a filled one of each kind, by the clock of this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np

from ..checks import NonNegative, check, check_fields
from ..plan import Plan
from .turns import take_turns

ROUNDS = 3


@dataclass(frozen=True)
class StepTimes:
    """What the steps of a plan take, medians over all steps of a kind in all rounds, for the samples of one call.

    Args:
        full, filled (`float`): Seconds of a full step and of a filled one.
        spread (`float`): Of `filled`, the distance of the quartiles of the rounds' medians: what may be chance.
        start (`float`): Seconds that the first step takes beyond a full one, once a generation.
    """

    full: NonNegative
    filled: NonNegative
    spread: NonNegative = 0.0
    start: NonNegative = 0.0

    def __post_init__(self) -> None:
        check_fields(self)

    def loop(self, full_steps: int, filled_steps: int) -> float:
        """Seconds of a denoising loop of so many steps of each kind."""
        return self.start + full_steps * self.full + filled_steps * self.filled


def time_kinds(
    run: Callable[[Plan], Sequence[float]], plans: Mapping[str, Plan], rounds: int = ROUNDS, warmups: int = 1
) -> dict[str, StepTimes]:
    """Time full and filled steps of some plans, which take turns.

    Args:
        run (`Callable`): Runs a pipeline once with a plan and returns the seconds of each step, as
            `LoopClock.step_seconds` tells them.
        plans (`Mapping[str, Plan]`): By the name of a kind (a label), a plan whose steps are full or filled by it.
            Each has full steps and filled ones beside the first and the last step.
        rounds (`int`, defaults to 3): Rounds that count, of one run a plan.
        warmups (`int`, defaults to 1): Rounds before them that do not.

    Returns:
        `dict[str, StepTimes]`: By the same names. The first step is in no median, for it pays for what comes once a
        generation, nor is the last, for behind it no scheduler's step is seen.

    Raises:
        ValueError: If a plan lacks full or filled steps, a run has other steps than its plan, or rounds are too few.
    """
    check(rounds >= 1, "rounds", rounds, "must be at least 1")
    for name, plan in plans.items():
        inner = plan.steps[1:-1]
        check(
            0 < inner.count("F") < len(inner),
            f"plans[{name}]",
            plan.steps,
            "must have full and filled steps between the first and the last",
        )
    taken = take_turns({name: partial(run, plan) for name, plan in plans.items()}, rounds, warmups)
    return {name: _times(plans[name].steps, runs) for name, runs in taken.items()}


def _times(letters: str, runs: Sequence[Sequence[float]]) -> StepTimes:
    for seconds in runs:
        check(len(seconds) == len(letters), "run", len(seconds), f"must tell the seconds of {len(letters)} steps")
    full = median(second for run in runs for second in _inner(letters, run, full=True))
    filled = [_inner(letters, run, full=False) for run in runs]
    first = median(run[0] for run in runs)
    return StepTimes(
        full=full,
        filled=median(second for run in filled for second in run),
        spread=interquartile([median(run) for run in filled]),
        start=max(0.0, first - full),
    )


def _inner(letters: str, seconds: Sequence[float], full: bool) -> list[float]:
    """The seconds of the full steps, or of the others, between the first and the last step."""
    inner = zip(letters[1:-1], seconds[1:-1], strict=True)
    return [second for letter, second in inner if (letter == "F") == full]


def interquartile(values: Sequence[float]) -> float:
    """The distance of the quartiles, linear between neighbours; 0 of a single value."""
    first, third = np.quantile(values, (0.25, 0.75))
    return float(third - first)
