"""Stable Diffusion 3 and 3.5: text and image in streams of their own (Esser et al., arXiv 2403.03206)."""

from __future__ import annotations

from ...registry import register
from ..intercepted import Intercepted
from ..prediction import LATENTS
from ..sites import TEXT_FIRST_STREAMS, feed_forward, joint_attention, self_attention, text_feed_forward
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec
from ..streams import IMAGE_FIRST

SIZES = Sizes(
    dims="BCHW",
    patch=lambda config: (1, config.patch_size, config.patch_size),
    latents=lambda config: (1, config.sample_size, config.sample_size),
    # CLIP's and T5's.
    text_tokens=77 + 256,
)

SD3 = FamilySpec(
    name="sd3",
    transformer="SD3Transformer2DModel",
    stacks=(
        BlockSpec(
            "main",
            "transformer_blocks",
            # The image's norm before attention feeds both attentions where there are two (3.5 medium).
            (
                joint_attention("attn", "norm1.norm", "norm1_context.norm", stream=IMAGE_FIRST, unless="attn2"),
                joint_attention("attn", "norm1_context.norm", stream=IMAGE_FIRST, given="attn2"),
                self_attention("attn2", module="self_attn_2"),
                feed_forward("ff", "norm2"),
                text_feed_forward("ff_context", "norm2_context"),
            ),
            conditioning=("norm1", "norm1_context"),
            streams=TEXT_FIRST_STREAMS,
        ),
    ),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    attention=Intercepted(),
    around=(
        ("pos_embed", "token"),
        ("time_text_embed", "sample"),
        ("context_embedder", "text_token"),
        ("norm_out", "sample"),
        ("proj_out", "token"),
    ),
    batched=(
        "hidden_states",
        "encoder_hidden_states",
        "pooled_projections",
        "timestep",
        "block_controlnet_hidden_states",
        "ip_adapter_image_embeds",
    ),
    free=("joint_attention_kwargs",),
    batched_cfg=True,
    entry="pos_embed",
    prediction=LATENTS,
    added=("block_controlnet_hidden_states",),
)

register(SD3)
