"""The refiner of SANA-WM: LTX-2's video alone, in blocks of frames that read the keys and values of those before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..positions import Positions
from ..sites import cross_attention, feed_forward, self_attention
from ..sizes import Others, Sizes, times
from ..spec import BlockSpec
from .anyflowfar import together
from .ltx import LTX
from .ltx2 import GATED_CROSS, GATED_SELF, TEXT_TOKENS


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Timesteps of a sample, and tokens of earlier frames whose keys are read."""
    cache, mode = call.get("kv_cache"), call.get("kv_cache_mode")
    layer = None if cache is None or mode is None else cache.get(0)
    held = () if layer is None else (layer.get_sink(), layer.get_history())
    return (*times(config, call), ("cached", sum(pair[0].shape[1] for pair in held if pair is not None)))


def _in_full(call: Mapping[str, Any]) -> str | None:
    reads = call.get("kv_cache_mode") in (None, "inject")
    return None if reads else "A call that writes the keys and values of frames runs in full, past the cache."


SIZES = Sizes(
    dims="BTC",
    patch=lambda config: (config.patch_size_t, config.patch_size, config.patch_size),
    latents=lambda config: (3, 22, 40),
    text_tokens=TEXT_TOKENS,
    others=_others,
)
SITES = (
    self_attention("attn1", "norm1", query_linears=GATED_SELF, context="cached"),
    cross_attention("attn2", "norm2", query_linears=GATED_CROSS),
    feed_forward("ff", "norm3"),
)

# The stack has LTX-2's modules for sound too, which nobody calls.
register(
    replace(
        LTX,
        name="sanawmltx2refiner",
        transformer="SanaWMLTX2RefinerTransformer3DModel",
        stacks=(BlockSpec("main", "transformer_blocks", SITES),),
        call_shape=SIZES.call_shape,
        default_shape=SIZES.default_shape,
        attention=Intercepted(positions=(Positions("query_rotary_emb", dim=-2),), own_keys="last"),
        batched=("hidden_states", "timestep", "encoder_hidden_states", "encoder_attention_mask", "video_rotary_emb"),
        whole=("kv_cache", "kv_cache_mode", "return_dict"),
        in_full=_in_full,
        together=together,
        batched_cfg=False,
        grid=None,
    )
)
