"""FLUX.3: blocks for the image, for reference images and for the text alone, then joint ones whose attention and
feed-forward run side by side; every token has a modulation of its own (Black Forest Labs, 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..prediction import PACKED
from ..sites import TEXT_FIRST_STREAMS, feed_forward, self_attention
from ..sizes import Others
from ..spec import BlockSpec, FamilySpec, SiteSpec
from ..streams import IMAGE, TEXT
from .flux import SIZES

REFERENCE = "reference"
CONTENT = f"{IMAGE}+{REFERENCE}"


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    given = call.get("image_cond_hidden_states")
    return ((REFERENCE, 0 if given is None else given.shape[1]),)


def _sites(stream: str) -> tuple[SiteSpec, ...]:
    # Both read one norm, and one gate is on their sum.
    return self_attention("attn", stream=stream), feed_forward("ff", stream=stream)


def _alone(name: str, blocks: str, stream: str) -> BlockSpec:
    return BlockSpec(name, blocks, _sites(stream))


FLUX3_SIZES = replace(SIZES, others=_others)

FLUX3 = FamilySpec(
    name="flux3",
    transformer="Flux3Transformer2DModel",
    stacks=(
        _alone("image", "mode_blocks.image", IMAGE),
        BlockSpec(
            "single",
            "single_transformer_blocks",
            _sites(f"{TEXT}+{CONTENT}"),
            streams=TEXT_FIRST_STREAMS,
            carries=(TEXT, CONTENT),
        ),
    ),
    call_shape=FLUX3_SIZES.call_shape,
    default_shape=FLUX3_SIZES.default_shape,
    attention=Intercepted(positions=("image_rotary_emb",)),
    side=(_alone("text", "txt_mode_blocks", TEXT), _alone(REFERENCE, "mode_blocks.image_cond", REFERENCE)),
    around=(
        # Of the image's timestep, and of timestep 0 of all else.
        ("timestep_embedder", "sample"),
        ("timestep_embedder", "sample"),
        ("target_timestep_embedder", "sample"),
        ("x_embedders.image", "token"),
        ("early_stream_modulations.image", "token"),
        ("single_stream_modulations.image", "token"),
        ("context_embedder", "text_token"),
        ("early_stream_modulations.txt", "text_token"),
        ("single_stream_modulations.txt", "text_token"),
        ("x_embedders.image_cond", REFERENCE),
        ("early_stream_modulations.image_cond", REFERENCE),
        ("single_stream_modulations.image_cond", REFERENCE),
        ("norm_out", "token"),
        ("proj_out", "token"),
    ),
    batched=(
        "hidden_states",
        "encoder_hidden_states",
        "timestep",
        "target_timestep",
        "image_cond_hidden_states",
    ),
    whole=("img_ids", "txt_ids", "image_cond_ids", "return_dict"),
    free=("attention_kwargs",),
    channel_dim=2,
    input="x_embedders.image",
    prediction=PACKED,
    timestep_scale=1000.0,
    modulation="token",
)

register(FLUX3)
