"""CogView3-Plus: image and text in one row, of attention and of one feed-forward (Zheng et al., arXiv 2403.05121)."""

from __future__ import annotations

from ...registry import register
from ..intercepted import Intercepted
from ..prediction import LATENTS
from ..sites import feed_forward, self_attention
from ..sizes import Sizes
from ..spec import BlockSpec, FamilySpec
from ..streams import JOINT

TEXT_TOKENS = 224

SIZES = Sizes(
    dims="BCHW",
    patch=lambda config: (1, config.patch_size, config.patch_size),
    latents=lambda config: (1, config.sample_size, config.sample_size),
    text_tokens=TEXT_TOKENS,
)
STREAMS = ("hidden_states", "encoder_hidden_states")
# Each of the norms before the feed-forward makes a part of its row.
SITES = (self_attention("attn1", "norm1.norm_x", "norm1.norm_c", stream=JOINT), feed_forward("ff", stream=JOINT))
AROUND = (
    ("patch_embed.proj", "token"),
    ("patch_embed.text_proj", "text_token"),
    ("time_condition_embed", "sample"),
    ("norm_out", "sample"),
    ("proj_out", "token"),
)

COGVIEW3PLUS = FamilySpec(
    name="cogview3plus",
    transformer="CogView3PlusTransformer2DModel",
    stacks=(BlockSpec("main", "transformer_blocks", SITES, conditioning=("norm1",), streams=STREAMS),),
    call_shape=SIZES.call_shape,
    default_shape=SIZES.default_shape,
    attention=Intercepted(),
    around=AROUND,
    batched=("hidden_states", "encoder_hidden_states", "timestep", "original_size", "target_size", "crop_coords"),
    batched_cfg=True,
    input="patch_embed.proj",
    prediction=LATENTS,
)

register(COGVIEW3PLUS)
