"""toca makes diffusion transformers fast: token-wise feature caching on stock diffusers pipelines, in one line."""

from .api import cached, disable_cache, enable_cache, reset, summary
from .methods import (
    CacheMethod,
    DBCache,
    DuCa,
    EasyCache,
    FBCache,
    FORA,
    Method,
    NoCache,
    RandomTokens,
    TaylorSeer,
    TeaCache,
    ToCa,
    methods,
    preset,
    presets,
)
from .plan import Plan
from .report import Summary

__version__ = "0.1.0"

__all__ = [
    "CacheMethod",
    "DBCache",
    "DuCa",
    "EasyCache",
    "FBCache",
    "FORA",
    "Method",
    "NoCache",
    "Plan",
    "RandomTokens",
    "Summary",
    "TaylorSeer",
    "TeaCache",
    "ToCa",
    "cached",
    "disable_cache",
    "enable_cache",
    "methods",
    "preset",
    "presets",
    "reset",
    "summary",
]
