"""Measurements of several things in turns, so that a slow moment of the machine hits all alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)
Measured = TypeVar("Measured")


def take_turns(
    measurements: Mapping[Name, Callable[[], Measured]],
    repeats: int,
    warmups: int = 1,
    keep: Callable[[dict[Name, Measured]], None] = lambda turn: None,
) -> dict[Name, list[Measured]]:
    """Make every measurement `repeats` times, in turns.

    Args:
        measurements (`Mapping[Hashable, Callable]`): What to measure, by name.
        repeats (`int`): Rounds that count.
        warmups (`int`, defaults to 1): Rounds before them that do not.
        keep (`Callable`): Is given every round that counts as soon as it is taken.

    Returns:
        `dict[Hashable, list]`: By name, what each measurement returned, one entry a round.
    """
    taken: dict[Name, list[Measured]] = {name: [] for name in measurements}
    for turn in range(warmups + repeats):
        results = {name: measure() for name, measure in measurements.items()}
        if turn >= warmups:
            keep(results)
            for name, result in results.items():
                taken[name].append(result)
    return taken
