"""What a small model's vocabulary says about a prompt."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path


def known_prompts(folder: str | Path) -> list[str]:
    """The captions a model was trained on, if its folder lists them in `prompts.json`; else an empty list."""
    path = Path(folder) / "prompts.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def advice(prompt: str, captions: list[str]) -> str | None:
    """One sentence on the words of a prompt that no caption has, with prompts that come near; `None` if all is known.

    Args:
        prompt (`str`): what the user asked for.
        captions (`list[str]`): what the model knows; an empty list means anything.
    """
    vocabulary = {word for caption in captions for word in _words(caption)}
    unknown = [word for word in _words(prompt) if word not in vocabulary | _ARTICLES]
    if not captions or not unknown:
        return None
    near = difflib.get_close_matches(prompt.lower(), captions, n=4, cutoff=0.5)
    for word in unknown:
        similar = set(difflib.get_close_matches(word, vocabulary, n=3, cutoff=0.7))
        near += [caption for caption in captions if similar & set(_words(caption))][:3]
    hint = f" It knows, for example: {', '.join(dict.fromkeys(near))}." if near else ""
    return f"The model does not know {', '.join(unknown)}.{hint}"


_ARTICLES = {"a", "an", "the"}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
