"""How much faster plans are than the full run, from the seconds of single steps.

The seconds of one run of a plan are few and differ by chance: of two plans that differ by one full step the clock may
call either the faster one, and a good plan would fall off the front. But plans are made of a few kinds of steps, each
of which is in most runs of most plans. So the runs tell what a step of each kind takes, and a plan what its steps do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from statistics import median

from ..plan import Plan


def speedups(plans: Sequence[Plan], turns: Sequence[Sequence[Sequence[float]]]) -> list[float]:
    """How many times as fast as the first plan each one is.

    Args:
        plans (`Sequence[Plan]`): The plans; the first is the full run.
        turns (`Sequence`): Turns in which each plan ran once: of each plan the seconds of each step.

    Returns:
        `list[float]`: The first plan's seconds over those of each. A step takes the median of its kind's shares of
        the turns they were taken in, so that a slow turn counts like any other.
    """
    kinds = [_kinds(plan) for plan in plans]
    shares: dict[Hashable, list[float]] = defaultdict(list)
    for turn in turns:
        whole = sum(map(sum, turn))
        for own, seconds in zip(kinds, turn, strict=True):
            for kind, taken in zip(own, seconds, strict=True):
                shares[kind].append(taken / whole)
    usual = {kind: median(values) for kind, values in shares.items()}
    loops = [sum(usual[kind] for kind in own) for own in kinds]
    return [loops[0] / loop for loop in loops]


def _kinds(plan: Plan) -> list[Hashable]:
    """Of each step what it does. The first pays for what comes once a generation, behind the last no scheduler's step
    is seen, and where something is filled later a full step keeps what that takes."""
    last, keeps = plan.num_inference_steps - 1, plan.full_steps < plan.num_inference_steps
    does = zip(plan.table, plan.spans, plan.guided, strict=True)
    return [(step == 0, step == last, keeps, *each) for step, each in enumerate(does)]
