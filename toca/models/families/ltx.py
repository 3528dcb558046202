"""LTX-Video: latents packed into tokens, text by cross-attention (HaCohen et al., arXiv 2501.00103)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..positions import Positions
from ..prediction import SEQUENCE
from ..sites import cross_attention, feed_forward, self_attention
from ..sizes import Sizes, times
from ..spec import BlockSpec, FamilySpec


def frames_of(call: Mapping[str, Any]) -> int:
    """Frames of the packed latents; 1 where they are no whole number of frames, for tokens of given frames stand
    beside them, and their coordinates are told one by one."""
    frames = call.get("num_frames") or 1
    return frames if call.get("video_coords") is None and call["hidden_states"].shape[1] % frames == 0 else 1


def grid_of(call: Mapping[str, Any]) -> tuple[int, int] | None:
    """Rows and columns of tokens; `None` where other tokens stand beside those of the grid."""
    rows, columns = call.get("height"), call.get("width")
    if rows is None or columns is None:
        return None
    return (rows, columns) if call["hidden_states"].shape[1] == frames_of(call) * rows * columns else None


SIZES = Sizes(
    dims="BTC",
    patch=lambda config: (config.patch_size_t, config.patch_size, config.patch_size),
    # 161 frames of 512 x 704 pixels.
    latents=lambda config: (21, 16, 22),
    text_tokens=128,
    others=times,
    packed_frames=frames_of,
)
ATTENTION = Intercepted(positions=(Positions("image_rotary_emb", dim=1),))

LTX = FamilySpec(
    name="ltx",
    transformer="LTXVideoTransformer3DModel",
    stacks=(
        BlockSpec(
            "main",
            "transformer_blocks",
            (self_attention("attn1", "norm1"), cross_attention("attn2"), feed_forward("ff", "norm2")),
        ),
    ),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    attention=ATTENTION,
    around=(
        ("proj_in", "token"),
        ("time_embed", "times"),
        ("caption_projection", "text_token"),
        ("proj_out", "token"),
    ),
    batched=("hidden_states", "timestep", "encoder_hidden_states", "encoder_attention_mask", "video_coords"),
    whole=("num_frames", "height", "width", "rope_interpolation_scale", "return_dict"),
    free=("attention_kwargs",),
    channel_dim=2,
    batched_cfg=True,
    grid=grid_of,
    input="proj_in",
    prediction=SEQUENCE,
)

register(LTX)
