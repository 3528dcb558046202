"""LTX-2: video and sound side by side, each attending to its own text and to the other (HaCohen et al., arXiv
2601.03233)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..positions import Positions
from ..prediction import SEQUENCE
from ..sites import SELF_LINEARS, cross_attention, feed_forward, self_attention
from ..sizes import Others, Sizes, times
from ..spec import BlockSpec, FamilySpec
from .ltx import frames_of, grid_of

TEXT_TOKENS = 1024
SOUND_TOKENS = 126
"""Of 121 frames at 24 a second: 25 tokens a second."""
AUDIO, AUDIO_TEXT = "audio", "audio_text"


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Tokens of the sound and of its text, and timesteps of a sample: those of the video, of the sound, and those that
    modulate the attention of one to the other."""
    sound, text = call.get("audio_hidden_states"), call.get("audio_encoder_hidden_states")
    own = dict(times(config, call))["times"]
    of_sound = call.get("timestep" if call.get("audio_timestep") is None else "audio_timestep")
    audio_times = dict(times(config, {"timestep": of_sound}))["times"]
    crossed = bool(call.get("use_cross_timestep"))
    return (
        (AUDIO, SOUND_TOKENS if sound is None else sound.shape[1]),
        (AUDIO_TEXT, TEXT_TOKENS if text is None else text.shape[1]),
        ("times", own),
        ("audio_times", audio_times),
        ("video_cross_times", 1 if crossed else own),
        ("audio_cross_times", 1 if crossed else audio_times),
    )


SIZES = Sizes(
    dims="BTC",
    patch=lambda config: (config.patch_size_t, config.patch_size, config.patch_size),
    # 121 frames of 512 x 768 pixels.
    latents=lambda config: (16, 16, 24),
    text_tokens=TEXT_TOKENS,
    others=_others,
    packed_frames=frames_of,
)
GATED_SELF = (*SELF_LINEARS, "to_gate_logits")
GATED_CROSS = ("to_q", "to_gate_logits", "to_out")
SITES = (
    self_attention("attn1", "norm1", query_linears=GATED_SELF),
    self_attention("audio_attn1", "audio_norm1", module="audio_self_attn", stream=AUDIO, query_linears=GATED_SELF),
    cross_attention("attn2", "norm2", query_linears=GATED_CROSS),
    cross_attention(
        "audio_attn2",
        "audio_norm2",
        module="audio_cross_attn",
        stream=AUDIO,
        context=AUDIO_TEXT,
        query_linears=GATED_CROSS,
    ),
    # The norms of both feed both.
    cross_attention("audio_to_video_attn", module="audio_to_video", context=AUDIO, query_linears=GATED_CROSS),
    cross_attention(
        "video_to_audio_attn", module="video_to_audio", stream=AUDIO, context="image", query_linears=GATED_CROSS
    ),
    feed_forward("ff", "norm3"),
    feed_forward("audio_ff", "audio_norm3", module="audio_ff", stream=AUDIO),
)

LTX2 = FamilySpec(
    name="ltx2",
    transformer="LTX2VideoTransformer3DModel",
    stacks=(
        BlockSpec(
            "main",
            "transformer_blocks",
            SITES,
            streams=("hidden_states", "audio_hidden_states"),
            carries=("image", AUDIO),
            read=("hidden_states", "audio_hidden_states"),
        ),
    ),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    # Of rotations in halves (B, heads, T, D / 2), of interleaved ones (B, T, D).
    attention=Intercepted(positions=(Positions("query_rotary_emb", dim=-2),)),
    around=(
        ("proj_in", "token"),
        ("audio_proj_in", AUDIO),
        ("time_embed", "times"),
        ("audio_time_embed", "audio_times"),
        ("av_cross_attn_video_scale_shift", "video_cross_times"),
        ("av_cross_attn_video_a2v_gate", "video_cross_times"),
        ("av_cross_attn_audio_scale_shift", "audio_cross_times"),
        ("av_cross_attn_audio_v2a_gate", "audio_cross_times"),
        ("prompt_adaln", "sample"),
        ("audio_prompt_adaln", "sample"),
        ("caption_projection", "text_token"),
        ("audio_caption_projection", AUDIO_TEXT),
        ("proj_out", "token"),
        ("audio_proj_out", AUDIO),
    ),
    batched=(
        "hidden_states",
        "audio_hidden_states",
        "encoder_hidden_states",
        "audio_encoder_hidden_states",
        "timestep",
        "audio_timestep",
        "sigma",
        "audio_sigma",
        "encoder_attention_mask",
        "audio_encoder_attention_mask",
        "video_coords",
        "audio_coords",
        "video_self_attention_mask",
        "video_keyframes_mask",
    ),
    whole=("num_frames", "height", "width", "fps", "audio_num_frames", "use_cross_timestep", "return_dict"),
    free=("attention_kwargs",),
    channel_dim=2,
    batched_cfg=True,
    grid=grid_of,
    input="proj_in",
    outputs=2,
    prediction=SEQUENCE,
)

register(LTX2)
