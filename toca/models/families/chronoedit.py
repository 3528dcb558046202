"""ChronoEdit: Wan's image-to-video between a picture and the edited one (Wu et al., arXiv 2510.04290)."""

from __future__ import annotations

from dataclasses import replace

from ...registry import register
from .wan import WAN, sizes

# The given picture and the edited one; more frames in between while it reasons.
SIZES = sizes(2, 60, 104)

register(
    replace(
        WAN,
        name="chronoedit",
        transformer="ChronoEditTransformer3DModel",
        call_shape=SIZES.call_shape,
        default_shape=SIZES.default_shape,
    )
)
