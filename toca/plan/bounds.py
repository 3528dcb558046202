"""Bounds on what a plan costs and on what it is worth: the first that is given is the goal, the others are limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypeVar

from ..checks import Count, SomeSteps, Within, checked
from .origin import Decibels

MOST_SPEEDUP = 1e6

Budget = Annotated[float, Within(1, MOST_SPEEDUP)]
"""How many times as fast as the full run."""

Duration = Annotated[float, Within(0, 1e9, open=True)]
"""Seconds of something that takes time."""


class Bounded(Protocol):
    """What bounds are put on."""

    @property
    def speedup(self) -> float: ...
    @property
    def seconds(self) -> float: ...
    @property
    def psnr(self) -> float: ...
    @property
    def cache_bytes(self) -> int: ...
    @property
    def full_steps(self) -> int: ...
    @property
    def num_inference_steps(self) -> int: ...


@dataclass(frozen=True)
class Bound:
    """One bound.

    Args:
        of (`Callable`): What it is on.
        least (`bool`): Whether it is a lower bound.
        hint: The values that it takes.
        short (`str`): What nothing does that exceeds it, with the bound at its place: `is {} times as fast`.
        best (`str`): What is nearest to it, in a word.
        exact (`bool`): Whether it must be met to the number.
    """

    of: Callable[[Any], float]
    least: bool
    hint: Any
    short: str
    best: str
    exact: bool = False

    def distance(self, entry: Bounded, value: float) -> float:
        """How far an entry misses the bound; 0 where it meets it."""
        missing = (value - self.of(entry)) * (1 if self.least else -1)
        return abs(missing) if self.exact else max(0.0, missing)


BOUNDS: dict[str, Bound] = {
    "speedup": Bound(lambda e: e.speedup, True, Budget, "is {:g} times as fast", "the fastest"),
    "seconds": Bound(lambda e: e.seconds, False, Duration, "takes at most {:g} s", "the fastest"),
    "full_steps": Bound(lambda e: e.full_steps, False, SomeSteps, "has at most {:g} full steps", "the least"),
    "min_psnr": Bound(lambda e: e.psnr, True, Decibels, "reaches {:g} dB", "the best"),
    "max_cache_bytes": Bound(lambda e: e.cache_bytes, False, Count, "keeps at most {:,} bytes", "the smallest"),
    "num_inference_steps": Bound(
        lambda e: e.num_inference_steps, True, SomeSteps, "has {:g} steps", "the nearest", True
    ),
}
GOALS = ("speedup", "seconds", "full_steps", "min_psnr")
"""Those that are a goal by themselves."""

Found = TypeVar("Found", bound=Bounded)


def checked_bounds(bounds: Mapping[str, Any], needs_goal: bool = True) -> dict[str, Any]:
    """The bounds that are given, in the order of `BOUNDS`.

    Raises:
        ValueError: If none of `GOALS` is, though one is needed, or for a value that no plan can meet, such as a
            `speedup` below 1; it names it.
        TypeError: For one of another name.
    """
    unknown = [name for name in bounds if name not in BOUNDS]
    if unknown:
        raise TypeError(f"There is no bound `{unknown[0]}`; there are {', '.join(BOUNDS)}.")
    given = {
        name: checked(bounds[name], bound.hint, name) for name, bound in BOUNDS.items() if bounds.get(name) is not None
    }
    if needs_goal and not any(name in given for name in GOALS):
        raise ValueError(f"Give a goal: one of {', '.join(GOALS)}.")
    return given


def best_within(entries: Sequence[Found], bounds: dict[str, Any], about: Callable[[Found], str]) -> Found:
    """Of the entries that meet all bounds the best: of the highest quality, or the fastest where quality is the goal.

    Args:
        entries (`Sequence`): What there is, one or more.
        bounds (`dict`): Of `checked_bounds`.
        about (`Callable`): An entry in words.

    Raises:
        ValueError: If none meets them; it names the bound, and the nearest entry.
    """
    goal = next(name for name in GOALS if name in bounds)
    left = list(entries)
    # The goal last: what it is refused for is what the limits leave.
    for name in [*(name for name in reversed(list(bounds)) if name != goal), goal]:
        meeting = [entry for entry in left if not BOUNDS[name].distance(entry, bounds[name])]
        if not meeting:
            raise ValueError(_nearest(left, entries, name, bounds[name], about))
        left = meeting
    fastest = goal == "min_psnr"
    return max(left, key=lambda e: (e.speedup, e.psnr) if fastest else (e.psnr, e.speedup))


def _nearest(left: list[Found], entries: Sequence[Found], name: str, value: Any, about: Callable[[Found], str]) -> str:
    bound = BOUNDS[name]
    nearest = min(left, key=lambda entry: (bound.distance(entry, value), -entry.psnr))
    among = "" if len(left) == len(entries) else " that meets the other bounds"
    return f"No plan{among} {bound.short.format(value)}: {bound.best} {about(nearest)}."
