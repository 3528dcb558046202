"""Emoji that move: eight frames of 64 x 64 pixels, made from a picture by moving, turning and scaling it."""

import hashlib
import math

import torch
import torch.nn.functional as F

FRAMES = 8
MOTIONS = {
    "bouncing": ("bouncing", "jumping", "hopping"),
    "spinning": ("spinning", "turning", "rotating"),
    "growing": ("growing", "swelling"),
    "sliding": ("sliding", "moving", "passing"),
}
"""What a motion is called; the first word is the one that prompts use."""
JITTER = 2.0  # pixels that a whole video may lie beside its place, so that no two are quite the same


def held_out(label: str, motion: str) -> bool:
    """Whether this emoji is never shown with this motion in training: one in twelve, by a hash of the two."""
    return int(hashlib.sha256(f"{label}/{motion}".encode()).hexdigest(), 16) % 12 == 0


def placement(motion: str, share: float) -> tuple[float, float, float, float]:
    """Scale, angle, and the place of the centre in pixels right and down of the middle, `share` of the way through."""
    if motion == "bouncing":
        return 0.62, 0.0, 0.0, 12.0 - 24.0 * abs(math.sin(math.pi * share))
    if motion == "spinning":
        return 0.7, 2 * math.pi * share, 0.0, 0.0
    if motion == "growing":
        return 0.3 + 0.7 * share, 0.0, 0.0, 0.0
    return 0.55, 0.0, -14.0 + 28.0 * share, 0.0


def animate(picture: torch.Tensor, motion: str, offset: tuple[float, float] = (0.0, 0.0)) -> torch.Tensor:
    """The video of a picture, (3, 64, 64) in -1..1 on white: (FRAMES, 3, 64, 64)."""
    last = FRAMES - 1 if motion in ("growing", "sliding") else FRAMES  # the others come round again
    rows = []
    half = picture.shape[-1] / 2
    for frame in range(FRAMES):
        scale, angle, right, down = placement(motion, frame / last)
        cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
        x, y = (right + offset[0]) / half, (down + offset[1]) / half
        rows.append([[cos, sin, -cos * x - sin * y], [-sin, cos, sin * x - cos * y]])
    frames = picture.expand(FRAMES, -1, -1, -1)
    grid = F.affine_grid(torch.tensor(rows), frames.shape, align_corners=False)
    # Averaging before scaling down keeps edges smooth.
    soft = F.interpolate(F.interpolate(frames, scale_factor=2, mode="bilinear"), scale_factor=0.5, mode="area")
    return 1 - F.grid_sample(1 - soft, grid, mode="bilinear", align_corners=False)
