"""Which prompts a search takes, and which it holds out to tell the quality by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files.reading import read_json
from .refusals import check_prompts

SEARCHED, HELD_OUT, FURTHER = 4, 8, 16
"""How many are searched on at most (one does, and ten are as good as hundreds: LeMiCa, section 4), how many tell the
quality, and how many more run in full alone, so that fitted weights are the model's and not a few prompts'."""


@dataclass(frozen=True)
class Parted:
    """Prompts by what they are for.

    Args:
        searched (`list`): To search on.
        held_out (`list`): To tell the quality by.
        further (`list`): To fit weights to, with those that are searched on; these once more, with other noise, where
            there are no others.
    """

    searched: list[Any]
    held_out: list[Any]
    further: list[Any]


def parted(prompts: Iterable[Any]) -> Parted:
    """Prompts by what they are for, in their order: a few to search on, some to tell the quality by, and the rest.

    Raises:
        ValueError: If they are fewer than two, or none.
    """
    given = check_prompts(prompts)
    searched = min(SEARCHED, len(given) // 2)
    rest = given[searched:]
    further = rest[HELD_OUT:] or given[:searched]
    return Parted(given[:searched], rest[:HELD_OUT], [further[i % len(further)] for i in range(FURTHER)])


def prompts_beside(pipe: Any) -> list[Any]:
    """Prompts that lie with a model: spread over its `prompts.json`, or the numbers of its classes.

    Raises:
        ValueError: If there are none.
    """
    wanted = SEARCHED + HELD_OUT + FURTHER
    known = _listed(Path(str(getattr(pipe, "name_or_path", ""))) / "prompts.json")
    if not known and (labels := getattr(pipe, "labels", None)):
        known = sorted(set(labels.values()))
    if not known:
        raise ValueError(
            f"No prompts lie with this {type(pipe).__name__}: give `prompts`, {wanted} of the kind that it will get."
        )
    return spread(known, wanted)


def spread(known: Sequence[Any], count: int) -> list[Any]:
    """Some of a list, from all over it: so are the first few of them too."""
    count = min(count, len(known))
    places = sorted({place * len(known) // count for place in range(count)})
    # By the golden section, each next one lies far from those before.
    order = sorted(range(len(places)), key=lambda i: (i * 0.6180339887) % 1)
    return [known[places[i]] for i in order]


def _listed(path: Path) -> list[Any]:
    try:
        texts = read_json(path)
    except (OSError, ValueError):
        return []
    return texts if isinstance(texts, list) and all(isinstance(text, str) for text in texts) else []
