"""AuraFlow: text and image in streams of their own, then in one (fal, 2024).

A block's output leaves out its attention, which only its feed-forward looks at; it is kept all the same, for it runs
whatever the feed-forward does.
"""

from __future__ import annotations

from ...registry import register
from ..intercepted import Intercepted
from ..prediction import LATENTS
from ..sites import TEXT_FIRST_STREAMS, dual_stream, feed_forward, self_attention
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec

TEXT = "registers+text"
BOTH = f"{TEXT}+image"

SIZES = Sizes(
    dims="BCHW",
    patch=lambda config: (1, config.patch_size, config.patch_size),
    latents=lambda config: (1, 128, 128),
    text_tokens=256,
    # Tokens that the model has learned, for attention to have somewhere to go.
    others=lambda config, call: (("registers", 8),),
)

AURAFLOW = FamilySpec(
    name="auraflow",
    transformer="AuraFlowTransformer2DModel",
    stacks=(
        BlockSpec(
            "dual",
            "joint_transformer_blocks",
            dual_stream(BOTH, text=TEXT),
            conditioning=("norm1", "norm1_context"),
            streams=TEXT_FIRST_STREAMS,
            carries=(TEXT, "image"),
        ),
        BlockSpec(
            "single",
            "single_transformer_blocks",
            (
                self_attention("attn", "norm1.norm", stream=BOTH),
                feed_forward("ff", "norm2", stream=BOTH),
            ),
            conditioning=("norm1",),
        ),
    ),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    attention=Intercepted(),
    around=(
        ("pos_embed", "token"),
        ("context_embedder", "text_token"),
        ("time_step_proj", "sample"),
        ("norm_out", "sample"),
        ("proj_out", "token"),
    ),
    batched=("hidden_states", "encoder_hidden_states", "timestep"),
    free=("attention_kwargs",),
    batched_cfg=True,
    prediction=LATENTS,
    timestep_scale=1000.0,
)

register(AURAFLOW)
