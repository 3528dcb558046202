"""Caching methods, one published method a file. A new one is a file beside these and a name in `METHODS`."""

from .base import Method
from .fora import FORA
from .no_cache import NoCache
from .presets import preset, presets
from .random_tokens import RandomTokens
from .toca import ToCa

METHODS: dict[str, type[Method]] = {method.name: method for method in (ToCa, FORA, RandomTokens, NoCache)}


def methods() -> dict[str, type[Method]]:
    """All methods by short name."""
    return dict(METHODS)


__all__ = ["FORA", "Method", "NoCache", "RandomTokens", "ToCa", "methods", "preset", "presets"]
