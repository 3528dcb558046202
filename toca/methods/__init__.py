"""Caching methods, one published method a file. A new one is a file beside these and a name in `METHODS`."""

from .base import Method
from .clusca import ClusCa
from .composed import CacheMethod
from .delta_dit import DeltaDiT
from .dicache import DiCache
from .duca import DuCa
from .easycache import EasyCache
from .fastercache import FasterCache
from .fbcache import DBCache, FBCache
from .fora import FORA
from .hicache import HiCache
from .learned import LearnedRouter
from .magcache import MagCache
from .no_cache import NoCache
from .pab import PAB
from .presets import preset, presets
from .random_tokens import RandomTokens
from .ras import RAS
from .smoothcache import SmoothCache
from .speca import SpeCa
from .taylorseer import TaylorSeer
from .teacache import TeaCache
from .tgate import TGate
from .toca import ToCa

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        ToCa,
        DuCa,
        ClusCa,
        RAS,
        RandomTokens,
        FORA,
        PAB,
        TGate,
        DeltaDiT,
        SmoothCache,
        MagCache,
        FasterCache,
        TaylorSeer,
        HiCache,
        TeaCache,
        FBCache,
        DBCache,
        EasyCache,
        DiCache,
        SpeCa,
        LearnedRouter,
        CacheMethod,
        NoCache,
    )
}
"""All methods by short name: those that choose tokens, that reuse, that forecast, that decide while the model runs."""


def methods() -> dict[str, type[Method]]:
    """All methods by short name."""
    return dict(METHODS)


__all__ = [
    "CacheMethod",
    "ClusCa",
    "DBCache",
    "DeltaDiT",
    "DiCache",
    "DuCa",
    "EasyCache",
    "FBCache",
    "FORA",
    "FasterCache",
    "HiCache",
    "LearnedRouter",
    "MagCache",
    "Method",
    "NoCache",
    "PAB",
    "RAS",
    "RandomTokens",
    "SmoothCache",
    "SpeCa",
    "TGate",
    "TaylorSeer",
    "TeaCache",
    "ToCa",
    "methods",
    "preset",
    "presets",
]
