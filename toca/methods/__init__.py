"""Caching methods, one published method a file. A new one is a file beside these and nothing else."""

from __future__ import annotations

from ..registry import load_all, registered
from .adacache import AdaCache
from .asyncdiff import AsyncDiff
from .base import Method
from .blockdance import BlockDance
from .budcache import BudCache
from .clusca import ClusCa
from .coast import Coast
from .composed import CacheMethod
from .deepcache import DeepCache
from .delta_dit import DeltaDiT
from .dicache import DiCache
from .dmd import DMD
from .duca import DuCa
from .easycache import EasyCache
from .fastercache import FasterCache
from .fbcache import DBCache, FBCache
from .foca import FoCa
from .fora import FORA
from .freqca import FreqCa
from .hicache import HiCache
from .hyca import HyCa
from .learned import LearnedRouter
from .lemica import LeMiCa
from .magcache import MagCache
from .meancache import MeanCache
from .no_cache import NoCache
from .pab import PAB
from .presets import preset, presets
from .random_tokens import RandomTokens
from .ras import RAS
from .rfc import RFC
from .scalingcache import ScalingCache
from .scm import SCM
from .seacache import SeaCache
from .smoothcache import SmoothCache
from .speca import SpeCa
from .spectrum import Spectrum
from .taylorseer import TaylorSeer
from .teacache import TeaCache
from .tgate import TGate
from .toca import ToCa
from .tuned import Tuned

METHODS: dict[str, type[Method]] = registered("method")
"""All methods by short name, a third party's too."""

LISTED = (
    *("toca", "duca", "clusca", "ras", "coast", "random"),
    *("fora", "pab", "tgate", "delta-dit", "blockdance", "deepcache", "smoothcache", "magcache", "fastercache"),
    *("lemica", "meancache", "budcache", "scm", "asyncdiff"),
    *("taylorseer", "hicache", "scalingcache", "freqca", "foca", "spectrum", "hyca", "dmd"),
    *("teacache", "seacache", "fbcache", "dbcache", "easycache", "dicache", "adacache", "rfc", "speca"),
    *("tuned", "learned", "composed", "none"),
)
"""The order in which they are listed: those that choose tokens, that reuse, whose steps are a list or a mask, that
forecast, that decide while the model runs, and the others; what is not named here comes last."""


def methods() -> dict[str, type[Method]]:
    """All methods by short name."""
    places = {name: place for place, name in enumerate(LISTED)}
    return {name: METHODS[name] for name in sorted(METHODS, key=lambda name: (places.get(name, len(LISTED)), name))}


__all__ = [
    "AdaCache",
    "AsyncDiff",
    "BlockDance",
    "BudCache",
    "CacheMethod",
    "ClusCa",
    "Coast",
    "DBCache",
    "DMD",
    "DeepCache",
    "DeltaDiT",
    "DiCache",
    "DuCa",
    "EasyCache",
    "FBCache",
    "FORA",
    "FasterCache",
    "FoCa",
    "FreqCa",
    "HiCache",
    "HyCa",
    "LeMiCa",
    "LearnedRouter",
    "MagCache",
    "MeanCache",
    "Method",
    "NoCache",
    "PAB",
    "RAS",
    "RFC",
    "RandomTokens",
    "SCM",
    "ScalingCache",
    "SeaCache",
    "SmoothCache",
    "SpeCa",
    "Spectrum",
    "TGate",
    "TaylorSeer",
    "TeaCache",
    "ToCa",
    "Tuned",
    "methods",
    "preset",
    "presets",
]

load_all(__name__, __path__)

# A method of a new file stands beside those that are named above, for all but type checkers.
for _method in METHODS.values():
    if _method.__name__ not in globals():
        globals()[_method.__name__] = _method
        __all__.append(_method.__name__)
