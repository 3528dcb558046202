"""Which prompts an evaluation may take: none that a search saw, of which a tuned plan's front tells.

A search (`toca.tune`) takes prompts from all over a model's own list, some to search on and others to tell the quality
by; the front names both in `made_with`, as `prompts` and `held_out`. What is left of the list is for evaluation, which
draws from it by chance (`toca.eval.samples.prompts.choose`), so that the two never share one. A class-conditional
pipeline has no other classes to ask for: there it is the noise that no search saw, whose seeds are hashes of 63 bits
(`toca.eval.samples.noise`) and those of a search small numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toca.eval.samples.prompts import Prompt
from toca.eval.variants import Variant
from toca.methods.tuned import Tuned
from toca.pipelines.arguments import takes_argument
from toca.plan.front import Front

NAMED = ("prompts", "held_out")
"""Where a front names the prompts of its search."""
SAME_CLASSES = "The search of the tuned plans saw the same classes with other noise."
"""What a report says where no prompt is left out."""


def unseen_prompts(
    prompts: list[Prompt], pipeline: type, variants: Sequence[Variant]
) -> tuple[list[Prompt], list[str]]:
    """The prompts that no search of the variants saw, with the numbers that they have in the list.

    Args:
        prompts (`list[Prompt]`): All there are.
        pipeline (`type`): Whose they are.
        variants (`Sequence[Variant]`): What is compared on it.

    Returns:
        `tuple[list[Prompt], list[str]]`: These, and sentences for the report.

    Raises:
        ValueError: If none is left.
    """
    fronts = _fronts(variants)
    if not fronts:
        return prompts, []
    if takes_argument(pipeline, "class_labels"):
        return prompts, [SAME_CLASSES]
    seen = {text for front in fronts.values() for text in seen_by(front)}
    left = [prompt for prompt in prompts if prompt.text not in seen]
    if not left:
        raise ValueError("The search of the tuned plans saw every prompt there is: name others with --prompts-file.")
    silent = [name for name, front in fronts.items() if not seen_by(front)]
    notes = [f"No prompt is among the {len(seen)} that the search of the tuned plans saw."] if not silent else []
    notes += [f"{name} does not tell its prompts: the search may have seen some of these." for name in silent]
    return left, notes


def seen_by(front: Front) -> list[str]:
    """The prompts of a front's search, those that it searched on and those that told the quality."""
    found: list[Any] = [text for name in NAMED for text in front.made_with.get(name) or ()]
    return [str(text) for text in found]


def named_fronts(variants: Sequence[Variant]) -> dict[str, str]:
    """The file of each front that the variants take their plans from, as a record has it, and what `--variant` says of
    a plan out of it."""
    found = [(front_of(each.describe()["method"]), each.recipe) for each in variants]
    return {front: recipe.argument for front, recipe in reversed(found) if front and recipe is not None}


def front_of(method: Mapping[str, Any] | None) -> str:
    """The file of the front that a recorded method's plan is out of; empty for any other method."""
    return str((method or {}).get("fields", {}).get("front") or "")


def _fronts(variants: Sequence[Variant]) -> dict[str, Front]:
    """Those that the variants take their plans from, by their files."""
    methods = [each.method for each in variants if isinstance(each.method, Tuned)]
    return {method.front: method.found for method in methods if method.front is not None}
