"""Hunyuan-DiT: two texts by cross-attention, long skips from the first half of the blocks to the second (Li et al.,
arXiv 2405.08748)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..prediction import LATENTS
from ..shape import CallShape
from ..sites import cross_attention, feed_forward, self_attention
from ..sizes import Others, Sizes
from ..spec import BlockSpec, FamilySpec


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Tokens of the second text, those that are pooled (it and its mean), and the one that they make."""
    second = call["encoder_hidden_states_t5"].shape[1] if call else config.text_len_t5
    return (("second", second), ("pooled", second + 1), ("pool", 1))


SIZES = Sizes(
    dims="BCHW",
    patch=lambda config: (1, config.patch_size, config.patch_size),
    latents=lambda config: (1, config.sample_size, config.sample_size),
    others=_others,
)


def _call_shape(transformer: Any, call: dict[str, Any]) -> CallShape:
    texts = ("encoder_hidden_states", "encoder_hidden_states_t5")
    return replace(SIZES.call_shape(transformer, call), text_tokens=sum(call[name].shape[1] for name in texts))


def _default_shape(
    config: Any, height: int | None, width: int | None, num_frames: int | None, text_tokens: int | None
) -> CallShape:
    usual = config.text_len + config.text_len_t5
    return SIZES.default_shape(config, height, width, num_frames, usual if text_tokens is None else text_tokens)


def _skips(config: Any) -> list[tuple[int, int]]:
    """The first blocks and the last ones, in pairs from outside; the two or three in the middle have none."""
    half = config.num_layers // 2
    return [(layer, 2 * half - 1 - layer) for layer in range(half - 1)]


SITES = (
    self_attention("attn1", "norm1.norm"),
    cross_attention("attn2", "norm2"),
    feed_forward("ff", "norm3"),
)
POOL = cross_attention(
    "", stream="pool", context="pooled", query_linears=("q_proj", "c_proj"), text_linears=("k_proj", "v_proj"),
    width="q_proj", output="c_proj",
)  # fmt: skip

HUNYUANDIT = FamilySpec(
    name="hunyuandit",
    transformer="HunyuanDiT2DModel",
    stacks=(BlockSpec("main", "blocks", SITES, conditioning=("norm1",), beside=(feed_forward("skip_linear"),)),),
    side=(BlockSpec("pooler", "time_extra_emb.pooler", (POOL,)),),
    call_shape=_call_shape,
    default_shape=_default_shape,
    # Angles of the image (T, D), with which the queries of the cross-attention are rotated too.
    attention=Intercepted(positions=("image_rotary_emb",)),
    around=(
        ("pos_embed", "token"),
        ("time_extra_emb.timestep_embedder", "sample"),
        ("time_extra_emb.extra_embedder", "sample"),
        ("text_embedder", "second"),
        ("norm_out", "sample"),
        ("proj_out", "token"),
    ),
    batched=(
        "hidden_states",
        "timestep",
        "encoder_hidden_states",
        "text_embedding_mask",
        "encoder_hidden_states_t5",
        "text_embedding_mask_t5",
        "image_meta_size",
        "style",
        "controlnet_block_samples",
    ),
    whole=("image_rotary_emb", "return_dict"),
    batched_cfg=True,
    entry="pos_embed",
    prediction=LATENTS,
    added=("controlnet_block_samples",),
    skips=_skips,
)

register(HUNYUANDIT)
