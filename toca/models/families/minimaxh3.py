"""MiniMax H3: text, sound and video in one row, each token with the modulation of its kind and timestep (MiniMax,
2026)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..sites import feed_forward, self_attention
from ..sizes import Others, Sizes
from ..spec import BlockSpec, FamilySpec

SOUND_TOKENS = 126


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Tokens of the sound, and timesteps of the call, which all samples share."""
    sound, timesteps = call.get("audio_hidden_states"), call.get("timestep")
    return (
        ("audio", SOUND_TOKENS if sound is None else sound.shape[1]),
        ("times", 2 if timesteps is None else len(timesteps)),
    )


SIZES = Sizes(
    dims="BTC",
    patch=lambda config: tuple(config.patch_size),
    latents=lambda config: (31, 45, 80),
    text_tokens=512,
    others=_others,
    packed_frames=lambda call: 1,
)
# As they stand without pictures to go on from, whose rows are the video's too and stand before the sound.
ROW = "text+audio+image"
KINDS = ("token", "text_token", "audio")

register(
    FamilySpec(
        name="minimaxh3",
        transformer="MiniMaxH3Transformer3DModel",
        stacks=(
            BlockSpec(
                "main",
                "transformer_blocks",
                (self_attention("attn", stream=ROW), feed_forward("ff", stream=ROW)),
                beside=(feed_forward("adaln_proj", stream="times", rows="call"),),
            ),
        ),
        side=(
            BlockSpec(
                "text",
                "token_refiner.refiner_blocks",
                (self_attention("attn", stream="text"), feed_forward("ff", stream="text")),
            ),
        ),
        call_shape=SIZES.call_shape,
        default_shape=SIZES.default_shape,
        attention=Intercepted(positions=("rotary_emb",)),
        around=(
            ("proj_in", "token"),
            ("audio_proj_in", "audio"),
            ("context_embedder", "text_token"),
            ("time_embedder", "call:times"),
            ("norm_out", "call:times"),
            # Both heads run over the whole row.
            *(("proj_out", kind) for kind in KINDS),
            *(("audio_proj_out", kind) for kind in KINDS),
        ),
        batched=("hidden_states", "audio_hidden_states", "encoder_hidden_states"),
        whole=(
            "timestep",
            "timestep_indices",
            "token_tags",
            "position_ids",
            "video_indices",
            "audio_indices",
            "text_indices",
            "return_dict",
        ),
        free=("attention_kwargs",),
        channel_dim=2,
        input="proj_in",
        outputs=2,
        modulation="token",
    )
)
