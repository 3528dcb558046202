"""The place of a transformer call in a generation."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class Tick:
    """One call's place: its branch, its step, the number of steps, and whether a generation starts with it."""

    branch: Hashable
    step: int
    num_inference_steps: int
    new_generation: bool


class NotPlaced(ValueError):
    """A call that belongs to no step; the message says why, `ends` whether the generation at hand is over with it."""

    def __init__(self, message: str, ends: bool = False):
        super().__init__(message)
        self.ends = ends


def branch_of(calls: dict[str | None, int], name: str | None, first: Hashable) -> Hashable:
    """The branch of one more call of this name in its step: `first`, or where there were others their number."""
    before = calls.get(name, 0)
    calls[name] = before + 1
    if not before:
        return first
    return before if name is None else (name, before)
