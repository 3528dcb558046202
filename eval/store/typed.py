"""The command that was typed, for whoever means to type it again."""

from __future__ import annotations

import shlex
from collections.abc import Collection

STAGES = ("run", "generate", "time", "score", "report")


def of_all_stages(command: str) -> list[str]:
    """The words of a command, for all stages and all samples whichever it was typed for; none of an empty one."""
    kept = without(shlex.split(command), ["--shard"])
    place = next((place for place, word in enumerate(kept) if word in STAGES), None)
    return kept if place is None else [*kept[:place], STAGES[0], *kept[place + 1 :]]


def without(words: list[str], flags: Collection[str]) -> list[str]:
    """Words without these flags and their values."""
    return [
        word
        for place, word in enumerate(words)
        if word.partition("=")[0] not in flags and (place == 0 or words[place - 1] not in flags)
    ]
