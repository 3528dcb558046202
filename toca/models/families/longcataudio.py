"""LongCat-AudioDiT: sound, text by cross-attention that knows positions (Meituan LongCat Team, 2026)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..positions import Positions
from ..prediction import SOUND_CHANNELS_LAST
from ..sites import cross_attention, feed_forward, self_attention
from ..sizes import Others, Sizes
from ..spec import BlockSpec, FamilySpec


def _others(config: Any, call: Mapping[str, Any]) -> Others:
    """Tokens of the sound to go on from, which is as long as the one that is made."""
    given = call.get("latent_cond")
    return (("given", 0 if given is None or not config.use_latent_condition else given.shape[1]),)


SIZES = Sizes(
    dims="BFC",
    patch=lambda config: (1, 1, 1),
    latents=lambda config: (256, 1, 1),
    text_tokens=128,
    others=_others,
)
# Where a token is; which are there, of self-attention its own; and which queries are there, of cross-attention.
POSITIONS = (
    Positions("audio_rotary_emb"),
    Positions("attention_mask", dim=1, unless="encoder_hidden_states"),
    Positions("post_attention_mask", dim=1),
)

register(
    FamilySpec(
        name="longcataudio",
        transformer="LongCatAudioDiTTransformer",
        stacks=(
            BlockSpec(
                "main",
                "blocks",
                # Norms of the others are no modules.
                (self_attention("self_attn"), cross_attention("cross_attn", "cross_attn_norm"), feed_forward("ffn")),
                conditioning=("adaln_mlp",),
            ),
        ),
        call_shape=SIZES.call_shape,
        default_shape=SIZES.default_shape,
        attention=Intercepted(positions=POSITIONS, whole=("prompt_rotary_emb",)),
        around=(
            ("time_embed", "sample"),
            ("text_embed", "text_token"),
            ("text_conv_layer", "text_token"),
            ("input_embed", "token"),
            ("latent_embed", "given"),
            ("latent_cond_embedder", "given"),
            ("adaln_global_mlp", "sample"),
            ("norm_out", "sample"),
            ("proj_out", "token"),
        ),
        batched=(
            "hidden_states",
            "timestep",
            "encoder_hidden_states",
            "encoder_attention_mask",
            "attention_mask",
            "latent_cond",
        ),
        channel_dim=2,
        input="input_embed",
        prediction=SOUND_CHANNELS_LAST,
        timestep_scale=1000.0,
        timestep_rises=True,
    )
)
