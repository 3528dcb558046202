"""Which prompts a search takes, and which it holds out to tell the quality by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files.reading import read_json
from .refusals import check_prompts

SEARCHED, HELD_OUT = 4, 8
"""How many are searched on at most (one does, and ten are as good as hundreds: LeMiCa, section 4; weights fitted to
four do to others what weights fitted to twenty do, to 0.2 dB), and how many tell the quality."""


@dataclass(frozen=True)
class Parted:
    """Prompts by what they are for.

    Args:
        searched (`list`): To search on.
        held_out (`list`): To tell the quality by.
    """

    searched: list[Any]
    held_out: list[Any]


def parted(prompts: Iterable[Any]) -> Parted:
    """The first few prompts to search on, and others to tell the quality by.

    Raises:
        ValueError: If they are fewer than two, or none.
    """
    given = check_prompts(prompts)
    searched = min(SEARCHED, len(given) // 2)
    return Parted(given[:searched], given[searched : searched + HELD_OUT])


def prompts_beside(pipe: Any) -> list[Any]:
    """Prompts that lie with a model: spread over its `prompts.json`, or the numbers of its classes.

    Raises:
        ValueError: If there are none.
    """
    wanted = SEARCHED + HELD_OUT
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
