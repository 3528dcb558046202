"""Cosmos 1, 2 and 2.5: video, text by cross-attention, from 2.5 on with the tokens of a picture (NVIDIA, arXiv
2501.03575, 2511.00062)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..prediction import VIDEO
from ..shape import CallShape
from ..sites import cross_attention, feed_forward, self_attention
from ..sizes import Others, Sizes, times
from ..spec import BlockSpec, FamilySpec


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Tokens of the picture beside the text, timesteps of a sample, and how often one is modulated: once, or where
    frames have timesteps of their own for each token."""
    picture = call.get("picture")
    usual = config.img_context_num_tokens if not call and config.img_context_dim_in else 0
    count = dict(times(config, call))["times"]
    modulations = 1
    if count > 1:
        _, rows, columns = config.patch_size
        modulations = count * (call["hidden_states"].shape[3] // rows) * (call["hidden_states"].shape[4] // columns)
    return (
        ("picture", usual if picture is None else picture.shape[1]),
        ("times", count),
        ("modulations", modulations),
    )


SIZES = Sizes(
    dims="BCFHW",
    patch=lambda config: tuple(config.patch_size),
    # 121 frames of 704 x 1280 pixels.
    latents=lambda config: (16, 88, 160),
    text_tokens=512,
    others=_others,
)


def _call_shape(transformer: Any, call: dict[str, Any]) -> CallShape:
    """The text may come with a picture, as a pair."""
    text = call["encoder_hidden_states"]
    text, picture = text if isinstance(text, tuple) else (text, None)
    return SIZES.call_shape(transformer, {**call, "encoder_hidden_states": text, "picture": picture})


CROSS_ATTENTION = cross_attention(
    "attn2",
    "norm2.norm",
    query_linears=("to_q", "q_img", "to_out"),
    context="text+picture",
    apart=(("picture", ("k_img", "v_img")),),
    measured="text",
)

COSMOS = FamilySpec(
    name="cosmos",
    transformer="CosmosTransformer3DModel",
    stacks=(
        BlockSpec(
            "main",
            "transformer_blocks",
            (self_attention("attn1", "norm1.norm"), CROSS_ATTENTION, feed_forward("ff", "norm3.norm")),
            beside=tuple(feed_forward(f"norm{i}", stream="modulations") for i in (1, 2, 3)),
            by_token=("extra_pos_emb", "controlnet_residual"),
        ),
    ),
    call_shape=_call_shape,
    default_shape=SIZES.default_shape,
    attention=Intercepted(positions=("image_rotary_emb",), product=0),
    around=(
        ("patch_embed", "token"),
        ("time_embed", "times"),
        ("crossattn_proj", "text_token"),
        ("img_context_proj", "picture"),
        ("norm_out", "modulations"),
        ("proj_out", "token"),
    ),
    batched=(
        "hidden_states",
        "timestep",
        "encoder_hidden_states",
        "block_controlnet_hidden_states",
        "attention_mask",
        "condition_mask",
    ),
    whole=("fps", "padding_mask", "return_dict"),
    input="patch_embed",
    # Masks come beside the latents.
    in_channels=lambda config: config.out_channels * math.prod(config.patch_size),
    prediction=VIDEO,
    added=("block_controlnet_hidden_states",),
    # Each version is called with another function of the noise: what the scheduler has, sigma, sigma / (1 + sigma).
    timestep_scale=None,
)

register(COSMOS)
