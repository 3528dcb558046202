"""The snippets of the README: code to execute, and commands, each of which runs or is looked through."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

NOT_RUN = {
    "make": "makes an environment, or runs all tests; its target is looked for",
    "toca eval": "takes minutes to hours, or needs weights; it is read with all that it names",
    "dit-xl-2-256": "needs a download; all is settled up to the loading of the model",
}
"""Commands that the test does not run, by words of theirs, and why; what is done instead."""

FEWER = {"generate": "--steps", "calibrate": "--steps"}
"""Commands that a test gives fewer steps than they say, or have by themselves."""


def blocks(language: str) -> list[str]:
    """The blocks of code in a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> Iterator[list[str]]:
    """Every command of the shell blocks and of the table of models, in words."""
    tried = re.findall(r"\| `(toca [^`]+)` \|", README)
    for block in [*blocks("bash"), *tried]:
        for line in block.replace("\\\n", " ").splitlines():
            yield from split(line)


def split(line: str) -> Iterator[list[str]]:
    words = shlex.shlex(line, posix=True, punctuation_chars=";")
    words.whitespace_split, words.commenters = True, "#"
    found: list[str] = []
    for word in words:
        if word == ";":
            yield found
            found = []
        else:
            found.append(word)
    if found:
        yield found


def reason_not_to_run(words: list[str]) -> str | None:
    """Why a command is not run; `None` if it is."""
    line = f"{shlex.join(words)} "
    return next((why for text, why in NOT_RUN.items() if line.startswith(f"{text} ") or f" {text} " in line), None)


def with_fewer_steps(words: list[str], steps: int) -> list[str]:
    """The same command in fewer steps, all that a picture's recipe does not say."""
    option = FEWER.get(words[1])
    # The calibration that lies beside the model for TeaCache is for the model's own steps.
    if option is None or "--from" in words or "which=teacache" in words:
        return words
    place = words.index(option) if option in words else None
    kept = words if place is None else [*words[:place], *words[place + 2 :]]
    # One prompt is enough to calibrate for; the model has sixteen.
    return [*kept, option, str(steps), *(["--prompt", "a red apple"] if words[1] == "calibrate" else [])]
