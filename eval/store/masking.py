"""URLs as they may be shown and kept: without user, password and query, which may hold a signature."""

from __future__ import annotations

import re
from urllib.parse import unquote

_USER = re.compile(r"(?<=://)(?:[^/:@]*:.*|[^/@]*)@", re.DOTALL)
"""Of `user@` what stands before the first slash; behind a colon everything, for a password may have slashes."""
_QUERY = re.compile(r"(?<=\?).*", re.DOTALL)
MASK = "***"
SHORT = 3
"""Letters. What is shorter would be masked in the middle of words."""


def masked(word: str) -> str:
    """A URL, or a word with a URL in it, as it may be shown; any other word as it is."""
    return _QUERY.sub(MASK, _USER.sub(f"{MASK}@", word)) if "://" in word else word


def without_secrets(text: str, url: str) -> str:
    """What somebody else says of a URL, without what `masked` hides of it."""
    user = "".join(_USER.findall(url)).removesuffix("@")
    queries = _QUERY.findall(url)
    values = [pair.partition("=")[2] for query in queries for pair in query.split("&")]
    secrets = [user, user.partition(":")[2], *queries, *values]
    for secret in sorted({*secrets, *map(unquote, secrets)}, key=len, reverse=True):
        text = text.replace(secret, MASK) if len(secret) >= SHORT else text
    return text
