"""Kandinsky 6: video and sound side by side, each attending to the text and to the other (Kandinsky Lab, 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..sites import cross_attention, feed_forward, self_attention
from ..sizes import Others
from ..spec import BlockSpec, SiteSpec
from .kandinsky5 import CONTEXT, KANDINSKY5, OWN
from .kandinsky5 import SIZES as PICTURE_SIZES

AUDIO = "audio"
SOUND_TOKENS = 126


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    sound = call.get("audio_hidden_states")
    return ((AUDIO, (0 if call else SOUND_TOKENS) if sound is None else sound.shape[1]),)


def _own(path: str, *norms: str, **more: Any) -> SiteSpec:
    return self_attention(path, *norms, **{"query_linears": OWN, "width": "to_query"} | more)


def _to(path: str, *norms: str, **more: Any) -> SiteSpec:
    linears = {"query_linears": ("to_query", "out_layer"), "text_linears": CONTEXT, "width": "to_query"}
    return cross_attention(path, *norms, **linears | more)


def _text(stack: str) -> BlockSpec:
    sites = (_own("attn", stream="text"), feed_forward("feed_forward", stream="text"))
    return BlockSpec(stack, f"{stack}_text_transformer_blocks", sites, conditioning=("text_modulation",))


VIDEO_BLOCK, AUDIO_BLOCK = "video_dec_block", "audio_dec_block"
# What the norms before the cross-attentions make is attended to as well.
SITES = (
    _own(f"{VIDEO_BLOCK}.self_attention", f"{VIDEO_BLOCK}.self_attention_norm"),
    _to(f"{VIDEO_BLOCK}.cross_attention"),
    _own(
        f"{AUDIO_BLOCK}.self_attention", f"{AUDIO_BLOCK}.self_attention_norm", module="audio_self_attn", stream=AUDIO
    ),
    _to(f"{AUDIO_BLOCK}.cross_attention", module="audio_cross_attn", stream=AUDIO, context="text"),
    _to("va_cross_attention", "va_normalization", module="audio_to_video", context=AUDIO),
    _to("av_cross_attention", "av_normalization", module="video_to_audio", stream=AUDIO, context="image"),
    feed_forward(f"{VIDEO_BLOCK}.feed_forward", f"{VIDEO_BLOCK}.feed_forward_norm"),
    feed_forward(f"{AUDIO_BLOCK}.feed_forward", f"{AUDIO_BLOCK}.feed_forward_norm", module="audio_ff", stream=AUDIO),
)
BLOCKS = BlockSpec(
    "main",
    "visual_transformer_blocks",
    SITES,
    conditioning=(
        f"{VIDEO_BLOCK}.visual_modulation",
        f"{AUDIO_BLOCK}.visual_modulation",
        "va_modulation",
        "av_modulation",
    ),
    streams=("vis", "aud"),
    main="vis",
    carries=("image", AUDIO),
    read=("vis", "aud"),
)
SIZES = replace(PICTURE_SIZES, others=_others)

register(
    replace(
        KANDINSKY5,
        name="kandinsky6",
        transformer="Kandinsky6Transformer3DModel",
        stacks=(BLOCKS,),
        side=(_text("video"), _text(AUDIO)),
        call_shape=SIZES.call_shape,
        default_shape=SIZES.default_shape,
        attention=Intercepted(positions=("rope_q",), whole=("rope_kv", "rotary_emb")),
        around=(
            ("visual_embeddings", "token"),
            ("audio_embeddings", AUDIO),
            *((f"{kind}_text_embeddings", "text_token") for kind in ("video", AUDIO)),
            *((f"{kind}_pooled_text_embeddings", "sample") for kind in ("video", AUDIO)),
            *((f"{kind}_time_embeddings", "sample") for kind in ("video", AUDIO)),
            ("out_layer.modulation", "sample"),
            ("out_layer.out_layer", "token"),
            ("audio_out_layer.modulation", "sample"),
            ("audio_out_layer.out_layer", AUDIO),
        ),
        batched=(
            "hidden_states",
            "timestep",
            "encoder_hidden_states",
            "pooled_projections",
            "audio_hidden_states",
            "encoder_attention_mask",
            "visual_token_type_ids",
        ),
        whole=("visual_rope_pos", "return_dict"),
        outputs=2,
    )
)
