"""What a small model's vocabulary says about a prompt."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any


def known_prompts(folder: str | Path) -> list[str]:
    """The captions a model was trained on, if its folder lists them in `prompts.json`; else an empty list."""
    path = Path(folder) / "prompts.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def unknown_words(prompt: str, tokenizer: Any) -> list[str]:
    """The words of a prompt that the tokenizer reads as its unknown token, lower-case, in order, each once."""
    words = dict.fromkeys(re.findall(r"[\w'’-]+", prompt.lower()))
    unknown = tokenizer.unk_token_id
    return [word for word in words if unknown in tokenizer(word, add_special_tokens=False).input_ids]


def advice(prompt: str, captions: list[str], tokenizer: Any) -> str | None:
    """One sentence on the words that a model of few words does not know, with prompts that come near.

    Args:
        prompt (`str`): what the user asked for.
        captions (`list[str]`): what the model knows; an empty list means that it is not such a model.
        tokenizer: the pipeline's.

    Returns:
        `str` or `None`: `None` if the model knows every word.
    """
    unknown = unknown_words(prompt, tokenizer) if captions else []
    if not unknown:
        return None
    near = difflib.get_close_matches(prompt.lower(), captions, n=4, cutoff=0.5)
    for word in unknown:
        near += [caption for caption in captions if difflib.get_close_matches(word, caption.split(), cutoff=0.7)][:3]
    hint = f" It knows, for example: {', '.join(dict.fromkeys(near))}." if near else ""
    return f"The model does not know {', '.join(unknown)}.{hint}"
