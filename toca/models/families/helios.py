"""Helios: Wan's blocks over the history of a long video, coarse and fine, and the frames that are made (2026)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

from ...registry import register
from ..linears import linear_flops
from ..sites import cross_attention, feed_forward, self_attention
from ..sizes import Others
from .wan import BLOCKS, WAN, sizes

KINDS = {"long": 4, "mid": 2, "short": 1}
"""Of the history in the order in which it stands, and by how much coarser its patches are."""
USUAL = {"long": 240, "mid": 240, "short": 1920}
"""Tokens of each, of videos of 384 x 640 pixels."""
ROW = "long+mid+short+image"


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Tokens of the history of each kind."""
    return tuple((kind, _tokens(config, call, kind) if call else USUAL[kind]) for kind in KINDS)


def _tokens(config: Any, call: Mapping[str, Any], kind: str) -> int:
    latents, places = call.get(f"latents_history_{kind}"), call.get(f"indices_latents_history_{kind}")
    if latents is None or places is None:
        return 0
    patch = (KINDS[kind] * pixels for pixels in config.patch_size)
    return prod(-(-size // pixels) for size, pixels in zip(latents.shape[2:], patch, strict=True))


def _zero_timestep_flops(transformer: Any) -> int:
    embedder = transformer.condition_embedder
    each = linear_flops(embedder.time_embedder) + linear_flops(embedder.time_proj)
    return each if transformer.zero_history_timestep else 0


SIZES = sizes(9, 48, 80, others=_others)
SITES = (
    self_attention("attn1", "norm1", stream=ROW),
    # The history does not look at the text.
    cross_attention("attn2", "norm2"),
    feed_forward("ffn", "norm3", stream=ROW),
)

register(
    replace(
        WAN,
        name="helios",
        transformer="HeliosTransformer3DModel",
        stacks=(replace(BLOCKS, sites=SITES),),
        call_shape=SIZES.call_shape,
        default_shape=SIZES.default_shape,
        # The history has the timestep 0, one for all samples.
        around=(
            ("patch_embedding", "token"),
            *((f"patch_{kind}", kind) for kind in KINDS),
            ("condition_embedder.time_embedder", "sample"),
            ("condition_embedder.time_proj", "sample"),
            (_zero_timestep_flops, "call"),
            ("condition_embedder.text_embedder", "text_token"),
            ("proj_out", "token"),
        ),
        batched=(
            "hidden_states",
            "timestep",
            "encoder_hidden_states",
            "indices_hidden_states",
            *(f"latents_history_{kind}" for kind in KINDS),
            *(f"indices_latents_history_{kind}" for kind in KINDS),
        ),
        modulation="token",
    )
)
