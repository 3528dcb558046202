"""What a method may ask of a model beside its sites, and which families have it: told from a family's data alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .shape import CallShape
from .spec import FamilySpec


@dataclass(frozen=True)
class Capability:
    """Something that can be done with some models and not with others.

    Args:
        about (`str`): What it is, as the end of "it asks for a model of which ...".
        lacking (`Callable`): `(spec, usual shape of a model's calls or None) -> why a family, or this model of it, has
            it not`, in words; empty where it has.
        instead (`str`): What to use on a model that has it not, as the end of "Use ...".
    """

    about: str
    lacking: Callable[[FamilySpec, CallShape | None], str]
    instead: str


def _cannot_drop(spec: FamilySpec, shape: CallShape | None) -> str:
    rows = {site.rows or stack.rows for stack in spec.stacks for site in stack.sites}
    if rows != {"sample"}:
        return "its blocks attend within frames and positions"
    if spec.outputs > 1:
        return f"it makes {spec.outputs} predictions, and tokens of one would be missing to the others"
    if spec.modulation == "token" or (shape is not None and shape.times > 1):
        return "its tokens are modulated each in its own way"
    given = [name for stack in spec.stacks for name in stack.by_token]
    if given:
        return f"its blocks are given more with a row for every token ({', '.join(given)})"
    if spec.prediction is None:
        return "nobody has said where each token is in its output (`prediction` of its FamilySpec)"
    if not spec.attention.drops:
        return "its attention cannot be run for some of the tokens (`attention` of its FamilySpec)"
    return ""


def _cannot_measure(spec: FamilySpec, shape: CallShape | None) -> str:
    if not spec.attention.measures:
        return "its attention makes no map of query and key that this library knows (`attention` of its FamilySpec)"
    return ""


def _cannot_attend(spec: FamilySpec, shape: CallShape | None) -> str:
    if not (spec.attention.drops and getattr(spec.attention, "chooses", True)):
        return "its attention cannot be run for some of the tokens (`attention` of its FamilySpec)"
    if spec.outputs > 1:
        return f"it makes {spec.outputs} predictions, whose tokens attend to each other"
    sites = [site for stack in spec.stacks for site in stack.sites if site.attention == "self"]
    if any(site.causal or site.pooled or site.whole for site in sites):
        return "its attention is made of parts that look at some of the tokens alone"
    return ""


DROP, MEASURE, ATTEND = "drop", "measure", "attend"
CAPABILITIES: dict[str, Capability] = {
    DROP: Capability(
        "tokens can be dropped before the first block",
        _cannot_drop,
        "a method that computes some tokens of each module (toca, random) or none (fora, taylorseer)",
    ),
    MEASURE: Capability(
        "attention can be measured",
        _cannot_measure,
        'a method that measures none: random, toca with score="random", fora or taylorseer',
    ),
    ATTEND: Capability(
        "self-attention can be run for some of the tokens",
        _cannot_attend,
        "a method that reuses it whole (toca, random) or chooses no tokens (fora, taylorseer)",
    ),
}
"""By their names in `Layout.capabilities`, in plans' files, and in what a selection, a fill or a gate asks."""


def capabilities_of(spec: FamilySpec, shape: CallShape | None = None) -> tuple[str, ...]:
    """The names of what a family has, or a model of it whose calls are usually of this shape."""
    return tuple(name for name, capability in CAPABILITIES.items() if not capability.lacking(spec, shape))


def first_lacking(asked: Iterable[str], has: Iterable[str]) -> str | None:
    """The first that is asked for and not there, or `None`."""
    return next((name for name in asked if name not in has), None)
