"""Whole pipelines of diffusers, tiny and random, in each style in which pipelines call a transformer.

One file a pipeline. No text encoder is needed where embeddings of a prompt can be given.
"""

from . import dit, flux, latte, pixart, sd3, wan  # noqa: F401
from .style import STYLES, Style

__all__ = ["STYLES", "Style"]
