"""What a small model's vocabulary says about a prompt."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from toca.files.reading import read_json

SMALL_WORDS = frozenset("a an the of with in on and at to for s".split())


def known_prompts(folder: str | Path) -> list[str]:
    """The captions a model was trained on, if its folder lists them in `prompts.json`; else an empty list."""
    return _listed(Path(folder) / "prompts.json")


def known_names(folder: str | Path) -> list[str]:
    """All names, captions among them, of what a model can draw, if its folder lists them in `names.json`."""
    return _listed(Path(folder) / "names.json")


def _listed(path: Path) -> list[str]:
    try:
        texts = read_json(path)
    except (OSError, ValueError):
        return []
    # Anyone's folder may have a file of that name; a picture can be made without it.
    ours = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
    return texts if ours else []


def unknown_words(prompt: str, tokenizer: Any) -> list[str]:
    """The words of a prompt that the tokenizer reads as its unknown token, lower-case, in order, each once."""
    words = dict.fromkeys(re.findall(r"[\w'’-]+", prompt.lower()))
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is None:
        return []
    return [word for word in words if unknown in tokenizer(word, add_special_tokens=False).input_ids]


def advice(prompt: str, captions: list[str], tokenizer: Any, names: list[str] | None = None) -> str | None:
    """One sentence on what a model of few pictures does not know, with prompts that come near.

    Args:
        prompt (`str`): what the user asked for.
        captions (`list[str]`): what the model knows; an empty list means that it is not such a model.
        tokenizer: the pipeline's.
        names (`list[str]`, *optional*): all names of all pictures; without them only single words are looked at.

    Returns:
        `str` or `None`: `None` if the model knows the prompt.
    """
    unknown = unknown_words(prompt, tokenizer) if captions else []
    if unknown:
        return f"The model does not know {', '.join(unknown)}.{_hint(prompt, unknown, captions)}"
    if not names or _meaning(prompt) in {_meaning(name) for name in names}:
        return None
    words = [word for word in re.findall(r"\w+", prompt.lower()) if word not in SMALL_WORDS]
    hint = _hint(prompt, words, captions)
    return f"The model knows no picture of this name and makes what it can of the words.{hint}"


def _meaning(text: str) -> frozenset[str]:
    """The words that count, in no order, singular and plural alike: how the embedded model reads a prompt."""
    words = re.findall(r"[a-z0-9]+", re.sub("['’]", "", text.lower()))
    return frozenset(word.removesuffix("s") for word in words if word not in SMALL_WORDS)


def _hint(prompt: str, words: list[str], captions: list[str]) -> str:
    near = difflib.get_close_matches(prompt.lower(), captions, n=4, cutoff=0.5)
    for word in words:
        closest = sorted(((_closeness(word, caption), -len(caption), caption) for caption in captions), reverse=True)
        near += [caption for closeness, _, caption in closest[:2] if closeness >= 0.7]
    return f" It knows, for example: {', '.join(dict.fromkeys(near))}." if near else ""


def _closeness(word: str, caption: str) -> float:
    """How much the nearest word of a caption is like `word`, from 0 to 1."""
    return max((difflib.SequenceMatcher(None, word, other).ratio() for other in caption.split()), default=0.0)
