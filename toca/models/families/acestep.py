"""ACE-Step 1.5: music, every second block within a window (Gong et al., arXiv 2602.00744)."""

from __future__ import annotations

from ...registry import register
from ..intercepted import Intercepted
from ..prediction import SOUND_CHANNELS_LAST
from ..sites import cross_attention, feed_forward, self_attention
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec

SIZES = Sizes(
    dims="BFC",
    patch=lambda config: (config.patch_size, 1, 1),
    # A minute.
    latents=lambda config: (1500, 1, 1),
    text_tokens=512,
)

register(
    FamilySpec(
        name="acestep",
        transformer="AceStepTransformer1DModel",
        stacks=(
            BlockSpec(
                "main",
                "layers",
                (
                    self_attention("self_attn", "self_attn_norm", keys="to_k"),
                    cross_attention("cross_attn", "cross_attn_norm", keys="to_k"),
                    feed_forward("mlp", "mlp_norm"),
                ),
            ),
        ),
        call_shape=SIZES.call_shape,
        default_shape=SIZES.default_shape,
        attention=Intercepted(positions=("image_rotary_emb",)),
        around=(
            ("proj_in_conv", "token"),
            ("time_embed", "sample"),
            ("time_embed_r", "sample"),
            ("condition_embedder", "text_token"),
            ("proj_out_conv", "token"),
        ),
        batched=("hidden_states", "timestep", "timestep_r", "encoder_hidden_states", "context_latents"),
        free=("attention_kwargs",),
        channel_dim=2,
        batched_cfg=True,
        conditional_half=0,
        input="proj_in_conv",
        in_channels=lambda config: config.audio_acoustic_hidden_dim * config.patch_size,
        output="proj_out_conv",
        prediction=SOUND_CHANNELS_LAST,
    )
)
