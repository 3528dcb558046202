"""toca makes diffusion transformers fast: token-wise feature caching on stock diffusers pipelines, in one line."""

from .api import cached, disable_cache, enable_cache, reset, summary
from .methods import FORA, NoCache, RandomTokens, ToCa, methods, preset, presets
from .plan import Plan
from .report import Summary

__version__ = "0.1.0"

__all__ = [
    "FORA",
    "NoCache",
    "Plan",
    "RandomTokens",
    "Summary",
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
