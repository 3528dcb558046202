"""Caching methods, one published method a file. A new one is a file beside these and a name in `METHODS`."""

from .base import Method
from .composed import CacheMethod
from .duca import DuCa
from .easycache import EasyCache
from .fbcache import DBCache, FBCache
from .fora import FORA
from .no_cache import NoCache
from .presets import preset, presets
from .random_tokens import RandomTokens
from .taylorseer import TaylorSeer
from .teacache import TeaCache
from .toca import ToCa

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        ToCa,
        DuCa,
        FORA,
        TaylorSeer,
        TeaCache,
        FBCache,
        DBCache,
        EasyCache,
        RandomTokens,
        CacheMethod,
        NoCache,
    )
}


def methods() -> dict[str, type[Method]]:
    """All methods by short name."""
    return dict(METHODS)


__all__ = [
    "CacheMethod",
    "DBCache",
    "DuCa",
    "EasyCache",
    "FBCache",
    "FORA",
    "Method",
    "NoCache",
    "RandomTokens",
    "TaylorSeer",
    "TeaCache",
    "ToCa",
    "methods",
    "preset",
    "presets",
]
