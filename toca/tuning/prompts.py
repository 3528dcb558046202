"""Which prompts a search takes, and which it holds out to tell the quality by."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..files.reading import read_json
from .refusals import check_prompts

SEARCHED, HELD_OUT = 4, 8
"""How many are searched on at most (one does, and ten are as good as hundreds: LeMiCa, section 4), and how many tell
the quality."""


def parted(prompts: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """Those to search on, and others to tell the quality by.

    Raises:
        ValueError: If they are fewer than two, or none.
    """
    given = check_prompts(prompts)
    searched = min(SEARCHED, len(given) // 2)
    return given[:searched], given[searched : searched + HELD_OUT]


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
    return [known[place * len(known) // wanted] for place in range(wanted)]


def _listed(path: Path) -> list[Any]:
    try:
        texts = read_json(path)
    except (OSError, ValueError):
        return []
    return texts if isinstance(texts, list) and all(isinstance(text, str) for text in texts) else []
