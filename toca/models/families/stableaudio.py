"""Stable Audio Open: sound, with one token of the whole before it (Evans et al., arXiv 2407.14358)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..linears import weight_flops
from ..prediction import SOUND
from ..sites import cross_attention, feed_forward, self_attention
from ..sizes import Others, Sizes
from ..spec import BlockSpec, FamilySpec

ROW = "global+image"


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    given = call.get("global_hidden_states")
    return (("global", 1 if given is None else given.shape[1]),)


SIZES = Sizes(
    dims="BCF",
    patch=lambda config: (1, 1, 1),
    latents=lambda config: (config.sample_size, 1, 1),
    # Of a prompt, and two that say when it begins and ends.
    text_tokens=130,
    others=_others,
)

register(
    FamilySpec(
        name="stableaudio",
        transformer="StableAudioDiTModel",
        stacks=(
            BlockSpec(
                "main",
                "transformer_blocks",
                (
                    self_attention("attn1", "norm1", stream=ROW),
                    cross_attention("attn2", "norm2", stream=ROW),
                    feed_forward("ff", "norm3", stream=ROW),
                ),
            ),
        ),
        call_shape=SIZES.call_shape,
        default_shape=SIZES.default_shape,
        attention=Intercepted(positions=("rotary_emb",)),
        around=(
            ("preprocess_conv", "token"),
            ("proj_in", "token"),
            (lambda transformer: weight_flops(transformer.time_proj), "sample"),
            ("timestep_proj", "sample"),
            ("global_proj", "global"),
            ("cross_attention_proj", "text_token"),
            ("proj_out", "token"),
            ("proj_out", "global"),
            ("postprocess_conv", "token"),
        ),
        batched=(
            "hidden_states",
            "timestep",
            "encoder_hidden_states",
            "global_hidden_states",
            "attention_mask",
            "encoder_attention_mask",
        ),
        whole=("rotary_embedding", "return_dict"),
        batched_cfg=True,
        input="proj_in",
        prediction=SOUND,
    )
)
