"""Allegro: PixArt's blocks over all frames of a video (Zhou et al., arXiv 2410.15458)."""

from __future__ import annotations

from ...registry import register
from ..intercepted import Intercepted
from ..positions import Positions
from ..prediction import VIDEO
from ..sites import cross_attention, feed_forward, self_attention
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec

SIZES = Sizes(
    dims="BCFHW",
    patch=lambda config: (config.patch_size_t, config.patch_size, config.patch_size),
    latents=lambda config: (config.sample_frames, config.sample_height, config.sample_width),
    text_tokens=512,
)

register(
    FamilySpec(
        name="allegro",
        transformer="AllegroTransformer3DModel",
        stacks=(
            BlockSpec(
                "main",
                "transformer_blocks",
                (self_attention("attn1", "norm1"), cross_attention("attn2"), feed_forward("ff", "norm2")),
            ),
        ),
        call_shape=SIZES.call_shape,
        default_shape=SIZES.default_shape,
        # Tables of angles, and where each token is in them: (1, T) along each axis.
        attention=Intercepted(positions=(Positions("image_rotary_emb", dim=1, items=(1,)),)),
        around=(
            ("pos_embed", "token"),
            ("adaln_single", "sample"),
            ("caption_projection", "text_token"),
            ("proj_out", "token"),
        ),
        batched=("hidden_states", "timestep", "encoder_hidden_states", "attention_mask", "encoder_attention_mask"),
        whole=("image_rotary_emb", "return_dict"),
        batched_cfg=True,
        prediction=VIDEO,
    )
)
