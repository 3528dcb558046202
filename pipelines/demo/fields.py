"""What the fields of the page hold for a model, and the wish that they add up to."""

from __future__ import annotations

from typing import Any

from toca.pipelines.demo.limits import LARGEST_SIDE, Wish
from toca.pipelines.demo.subject import Subject
from toca.pipelines.request import own_sizes

TUNED = "tuned plan (the slider)"
MOST_PROMPTS = 200
USUAL_SPEEDUP = 2.0
"""Where the slider stands at first."""


def prompts(subject: Subject) -> dict[str, Any]:
    """Of the prompt: a choice of classes, or any text with some that the model knows."""
    label = "Class" if subject.classes else "Prompt"
    known = list(subject.prompts[:MOST_PROMPTS])
    return {"choices": known, "value": known[0], "label": label, "allow_custom_value": not subject.classes}


def slider(subject: Subject) -> dict[str, Any]:
    """Of the slider, whose numbers are places among the positions."""
    last = len(subject.positions) - 1
    return {"minimum": 0, "maximum": max(1, last), "value": usual_place(subject), "visible": last > 0}


def usual_place(subject: Subject) -> int:
    return sum(each.speedup < USUAL_SPEEDUP for each in subject.positions[:-1])


def told(subject: Subject, place: float) -> str:
    """What lies at a place of the slider."""
    if not subject.positions:
        return f"No plans are tuned for this model (`toca tune {subject.model}` makes them): a method for experts."
    return subject.positions[_place(subject, place)].told


def methods(subject: Subject) -> dict[str, Any]:
    """Of the methods: the tuned plan first, where there is one."""
    names = [TUNED] * bool(subject.positions) + list(subject.methods)
    return {"choices": names, "value": names[0]}


def side(subject: Subject, name: str) -> dict[str, Any]:
    """Of the height or width: the model's own pixels at first."""
    return {"value": own_side(subject, name), "minimum": 16, "maximum": LARGEST_SIDE, "precision": 0}


def own_side(subject: Subject, name: str) -> int | None:
    return own_sizes(subject.model, type(subject.pipe)).get(name)


def wish_of(
    subject: Subject, prompt: str, place: float, method: str, seed: int, steps: int,
    width: int | None, height: int | None,
) -> Wish:  # fmt: skip
    """The wish that the fields add up to.

    Raises:
        ValueError: for what no field can hold; whoever calls the page's interface may send anything.
    """
    tuned = method == TUNED
    if tuned and not subject.positions:
        raise ValueError(f"{subject.model} has no tuned plans.")
    sizes = {"width": width, "height": height}
    asked = {name: size for name, size in sizes.items() if size and size != own_side(subject, name)}
    return Wish(
        model=subject.model,
        prompt=prompt,
        seed=seed,
        speedup=subject.positions[_place(subject, place)].speedup if tuned else None,
        method=None if tuned else method,
        steps=None if tuned else steps,
        **(asked if subject.takes_size else {}),
    )


def _place(subject: Subject, place: float) -> int:
    return min(len(subject.positions) - 1, max(0, int(place)))
