"""The pictures of the page: what was made, large enough to look at, and what was done for it."""

from __future__ import annotations

import io
import math
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

from toca.checks import cleaned
from toca.pipelines.demo.facts import method_told
from toca.pipelines.demo.running import Made
from toca.pipelines.video import FRAMES_PER_SECOND
from toca.plan.drawing import draw_plan

SIDE = 448
"""Pixels of a picture at least: small models make small ones."""
COLOURS = "viridis"
SHOWING = 0.6
"""How much of the overlay covers the picture."""


def enlarged(image: Image.Image) -> Image.Image:
    """A picture enlarged by a whole factor if it is small."""
    factor = math.ceil(max(1, SIDE / max(image.size)))
    return image.convert("RGB").resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)


def moving(frames: tuple[Image.Image, ...]) -> bytes:
    """A video as an animated GIF."""
    first, *others = (enlarged(frame) for frame in frames)
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=others, duration=1000 // FRAMES_PER_SECOND, loop=0)
    return file.getvalue()


def pair(made: Made) -> Image.Image:
    """The full picture and the cached one side by side; of videos the middle frames."""
    middle = len(made.full.frames) // 2
    left, right = (enlarged(picture.frames[middle]) for picture in (made.full, made.cached))
    both = Image.new("RGB", (left.width + right.width + 8, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + 8, 0))
    return both


def plan_picture(made: Made) -> Image.Image:
    """The plan that was followed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.png"
        costs = f"{made.summary.flops_speedup:.2f}x fewer FLOPs, {made.summary.cache_bytes / 2**20:.2f} MiB of cache"
        draw_plan(made.plan, path, f"{method_told(made.wish)} on {cleaned(made.wish.model, 60)}", costs)
        with Image.open(path) as image:
            return image.convert("RGB")


def token_picture(made: Made) -> Image.Image | None:
    """Over the cached picture how often each of its tokens was computed, dark to bright, relative to the others; of a
    video the middle frame."""
    if made.shares is None:
        return None
    frames = made.shares[0]
    share = frames[len(frames) // 2]
    low, high = float(share.min()), float(share.max())
    scaled = (share - low) / (high - low) if high > low else np.zeros_like(share)
    colours = Image.fromarray((matplotlib.colormaps[COLOURS](scaled)[..., :3] * 255).astype(np.uint8))
    below = enlarged(made.cached.frames[len(made.cached.frames) // 2])
    return Image.blend(below, colours.resize(below.size, Image.Resampling.NEAREST), SHOWING)


def tokens_told(made: Made) -> str:
    """What the overlay shows, in words."""
    if made.shares is None:
        if "t" in made.summary.steps:
            return "This method chooses tokens while it runs, for each image by itself: there is no map of them."
        return "This plan computes no part of the tokens: a step computes all of them at a site, or none."
    low, high = float(made.shares.min()), float(made.shares.max())
    return f"How often a token was computed where it could be: dark {low:.0%}, bright {high:.0%} of the calls."
