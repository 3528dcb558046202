"""Whole pipelines of diffusers, tiny and random, in each style in which pipelines call a transformer.

One file a pipeline. No text encoder is needed where embeddings of a prompt can be given.
"""

from . import (  # noqa: F401
    auraflow,
    chroma,
    cogvideox,
    dit,
    flux,
    helios,
    hunyuanimage,
    hunyuanvideo15,
    ideogram4,
    kandinsky5,
    latte,
    ltx,
    lumina2,
    omnigen,
    pixart,
    qwenimage,
    sana,
    sd3,
    skyreels,
    wan,
    zimage,
)
from .style import STYLES, Style

__all__ = ["STYLES", "Style"]
