"""Stable Audio 3: sound behind tokens of memory, with differential attention (Stability AI, 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..prediction import SOUND
from ..sites import cross_attention, feed_forward, self_attention
from ..sizes import Others, Sizes
from ..spec import BlockSpec, FamilySpec

ROW = "memory+image"


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Tokens of memory, and those of the sound to be filled in."""
    given = call.get("local_add_cond")
    return (("memory", config.num_memory_tokens), ("given", 0 if given is None else given.shape[2]))


def _products(attention: Any) -> int:
    return 2 if attention.use_differential else 1


SIZES = Sizes(
    dims="BCF",
    patch=lambda config: (config.patch_size, 1, 1),
    # Two minutes.
    latents=lambda config: (1292, 1, 1),
    text_tokens=130,
    others=_others,
)
SITES = (
    self_attention(
        "self_attn", "pre_norm", stream=ROW, query_linears=("to_qkv", "to_out"), width="to_out", products=_products
    ),
    cross_attention(
        "cross_attn",
        "cross_attend_norm",
        stream=ROW,
        query_linears=("to_q", "to_out"),
        text_linears=("to_kv",),
        width="to_out",
        products=_products,
    ),
    feed_forward("ff", "ff_norm", stream=ROW),
)

register(
    FamilySpec(
        name="stableaudio3",
        transformer="StableAudio3DiTModel",
        stacks=(
            BlockSpec(
                "main",
                "transformer_blocks",
                SITES,
                beside=(feed_forward("to_local_embed", stream="given"),),
                by_token=("local_seq",),
            ),
        ),
        call_shape=SIZES.call_shape,
        default_shape=SIZES.default_shape,
        # The difference of two maps is none.
        attention=Intercepted(measures=False, drops=False),
        around=(
            ("preprocess_conv", "token"),
            ("proj_in", "token"),
            ("to_timestep_embed", "sample"),
            ("to_global_embed", "sample"),
            ("global_cond_embedder", "sample"),
            ("to_cond_embed", "text_token"),
            ("proj_out", "token"),
            ("postprocess_conv", "token"),
        ),
        batched=(
            "hidden_states",
            "timestep",
            "encoder_hidden_states",
            "global_hidden_states",
            "encoder_attention_mask",
            "local_add_cond",
        ),
        batched_cfg=True,
        input="proj_in",
        prediction=SOUND,
    )
)
