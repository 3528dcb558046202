"""Latte: a video, guidance in a batch."""

from __future__ import annotations

from ..helpers import LATTE_SIZE, TEXT_WIDTH, tiny_latte_pipeline
from .style import style, text

ARGUMENTS = {
    "prompt": None,
    "negative_prompt": None,
    "prompt_embeds": text(width=TEXT_WIDTH),
    "negative_prompt_embeds": text(width=TEXT_WIDTH, seed=2),
    "clean_caption": False,
    "mask_feature": False,
    **LATTE_SIZE,
}
style("latte", tiny_latte_pipeline, ARGUMENTS)
