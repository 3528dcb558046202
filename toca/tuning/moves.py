"""Moves from one choice of full steps to another, and from one way to fill what is between them to another."""

from __future__ import annotations

import random
from collections.abc import Iterator

FullSteps = tuple[int, ...]
"""Full steps, rising; step 0 is one of them."""

Choice = tuple[FullSteps, tuple[int, ...]]
"""Full steps, and for each the label of the steps up to the next one; 0 where there are none."""

REACH = 3
"""How far a full step moves where it moves to all places in turn: BudCache's."""


def shifts(full: FullSteps, num_steps: int, fixed: int = 1, reach: int = REACH) -> Iterator[FullSteps]:
    """All that come of one full step that moves to a filled place near by; the first `fixed` of them stay."""
    for step in full[fixed:]:
        for place in range(max(1, step - reach), min(num_steps, step + reach + 1)):
            if place not in full:
                yield _moved(full, step, place)


def random_shift(full: FullSteps, num_steps: int, fixed: int, reach: int, chance: random.Random) -> FullSteps:
    """One full step that moves to a filled place within reach, or to any where there is none."""
    if len(full) in (fixed, num_steps):
        return full
    step = chance.choice(full[fixed:])
    places = [place for place in range(num_steps) if place not in full]
    near = [place for place in places if abs(place - step) <= reach]
    return _moved(full, step, chance.choice(near or places))


def _moved(full: FullSteps, step: int, place: int) -> FullSteps:
    return tuple(sorted({*full, place} - {step}))


def neighbours(choice: Choice, num_steps: int, num_labels: int, reach: int = REACH) -> Iterator[Choice]:
    """All that come of one full step that moves within reach, or of one segment that is filled in another way.

    A segment that a move makes takes the label of what is filled before it or after it, in turn, and one that a move
    empties loses its own, so that what runs alike is equal.
    """
    full, labels = choice
    before, after = _labels_of_steps(choice, num_steps)
    for moved in shifts(full, num_steps, reach=reach):
        for by_step in (before, after) if before != after else (before,):
            yield moved, tuple(_label(by_step, start, stop) for start, stop in _segments(moved, num_steps))
    for place, (start, stop) in enumerate(_segments(full, num_steps)):
        for label in range(num_labels) if stop > start + 1 else ():
            if label != labels[place]:
                yield full, (*labels[:place], label, *labels[place + 1 :])


def _segments(full: FullSteps, num_steps: int) -> Iterator[tuple[int, int]]:
    return zip(full, (*full[1:], num_steps), strict=True)


def _labels_of_steps(choice: Choice, num_steps: int) -> tuple[list[int], list[int]]:
    """For each step the label of the last filled step up to it, and that of the next one from it on."""
    full, labels = choice
    filled: list[int | None] = [None] * num_steps
    for (start, stop), label in zip(_segments(full, num_steps), labels, strict=True):
        filled[start + 1 : stop] = [label] * (stop - start - 1)
    before, after = _carried(filled), _carried(filled[::-1])[::-1]
    return before, after


def _carried(filled: list[int | None]) -> list[int]:
    """The last label that there was; the first one before there was any."""
    last = next((label for label in filled if label is not None), 0)
    return [last := label if label is not None else last for label in filled]


def _label(by_step: list[int], start: int, stop: int) -> int:
    """The label of a segment: of the step that follows the full one, for that is where a fill begins."""
    return by_step[start + 1] if stop > start + 1 else 0
