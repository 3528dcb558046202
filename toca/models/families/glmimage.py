"""GLM-Image: CogView4's blocks, a prior of tokens beside the latents, and keys and values of given pictures, which are
written before the first step and read in each (Zhipu AI, 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..prediction import LATENTS
from ..sizes import Others, Sizes
from ..spec import FamilySpec
from .cogview4 import BLOCKS, SITES

TEXT_TOKENS = 32
"""Of a usual prompt: those of the words that are to be seen in the picture."""


def _read(call: Mapping[str, Any]) -> list[Any]:
    """Keys of given pictures that a call reads, (1, tokens, heads, D) for each sample."""
    caches = call.get("kv_caches")
    return caches[0].k_caches if caches is not None and caches[0].mode == "read" else []


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    return (("given", max((keys.shape[1] for keys in _read(call)), default=0)),)


SIZES = Sizes(
    dims="BCHW",
    patch=lambda config: (1, config.patch_size, config.patch_size),
    # 1024 x 1024 pixels.
    latents=lambda config: (1, 128, 128),
    text_tokens=TEXT_TOKENS,
    others=_others,
)


def _in_full(call: Mapping[str, Any]) -> str | None:
    caches = call.get("kv_caches")
    if caches is not None and caches[0].mode == "write":
        return "The keys and values of a given picture are written: such calls run in full, past the cache."
    return None


def _together(call: Mapping[str, Any]) -> str | None:
    several = len(_read(call)) > 1
    return "The samples of a batch have given pictures of their own: they decide together." if several else None


GLMIMAGE = FamilySpec(
    name="glmimage",
    transformer="GlmImageTransformer2DModel",
    stacks=(replace(BLOCKS, sites=(replace(SITES[0], context="given"), *SITES[1:])),),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    # Angles of the image alone, (image tokens, D); what is read stands before a call's own keys.
    attention=Intercepted(positions=("image_rotary_emb",), own_keys="last"),
    around=(
        ("image_projector", "token"),
        ("glyph_projector", "text_token"),
        ("prior_projector", "token"),
        ("time_condition_embed", "sample"),
        ("norm_out", "sample"),
        ("proj_out", "token"),
    ),
    batched=(
        "hidden_states",
        "encoder_hidden_states",
        "timestep",
        "target_size",
        "crop_coords",
        "prior_token_id",
        "prior_token_drop",
        "attention_mask",
    ),
    whole=("image_rotary_emb", "kv_caches", "return_dict"),
    free=("attention_kwargs",),
    input="image_projector",
    prediction=LATENTS,
    # The pipeline counts from 0 to 999.
    timestep_offset=1.0,
    in_full=_in_full,
    together=_together,
)

register(GLMIMAGE)
